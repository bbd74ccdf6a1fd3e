"""What a run's client writes down, and what becomes of the checker's findings."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from scripts.chaos import histories
from scripts.chaos.client import Client, Request
from scripts.drills.load import Target
from scripts.stack import history, host_history
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

ACCEPTED = {"type": "ok", "op": "accept", "actor": "web", "job": "a", "mono": 1.0, "wall": 1001.0}


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(host_history.stop)
        self.root = Path(folder.name)
        values = {"COMPOSE_PROJECT_NAME": "p", "HOLDFAST_HISTORY": "1"}
        self.stack = Stack(self.root, self.root / ".env", values, "celery", "sentinel")


class Judged(Case):
    def judged(self, state: str) -> tuple[list[str], str]:
        events, rows = self.root / ".state" / "p" / "history", self.root / ".state" / "p" / "rows.jsonl"
        events.mkdir(parents=True, exist_ok=True)
        (events / "web.jsonl").write_text(json.dumps(ACCEPTED) + "\n")
        rows.write_text(json.dumps({"row": "job", "id": "a", "state": state}) + "\n")
        with (
            mock.patch.object(history, "collect", return_value=(events, rows)),
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            return histories.judged(self.stack, seed=5), said.getvalue()

    def test_a_clean_history_has_no_phrase(self) -> None:
        phrases, said = self.judged("SUCCEEDED")
        self.assertEqual(phrases, [])
        self.assertIn("history: 1 events", said)
        self.assertFalse((self.root / ".state" / "p" / "histories").exists())

    def test_a_finding_is_told_and_its_files_are_kept(self) -> None:
        phrases, said = self.judged("RUNNING")
        self.assertEqual(phrases, ["lost: a never ended: its row is RUNNING"])
        self.assertIn("accept ok", said)
        kept = self.root / ".state" / "p" / "histories" / "seed-5"
        self.assertIn(str(kept), said)
        self.assertTrue((kept / "rows.jsonl").is_file() and (kept / "history" / "web.jsonl").is_file())

    def test_no_event_at_all_is_no_verdict(self) -> None:
        empty = self.root / "empty"
        empty.mkdir()
        with mock.patch.object(history, "collect", return_value=(empty, empty)), self.assertRaises(StackError):
            histories.judged(self.stack, seed=5)


class Writing(Case):
    def sent(self, request: Request, status: int, body: bytes) -> list[dict[str, Any]]:
        host_history.start(self.stack)
        target = mock.create_autospec(Target, instance=True)
        target.send.return_value = (status, "", body)
        Client(target, [request], rate=1).send(0)
        files = host_history.folder(self.stack).glob("*.jsonl")
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    @staticmethod
    def job(tag: str) -> dict[str, Any]:
        return {"params": {"tag": tag}}

    def test_each_job_of_a_bulk_has_its_own_end(self) -> None:
        request = Request(0, "bulk", jobs=[self.job("t-0"), self.job("t-1"), self.job("t-0")], key="k")
        body = json.dumps({"jobs": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}).encode()
        ends = [event for event in self.sent(request, 202, body) if event["type"] != "invoke"]
        told = [(event["type"], event["request"], event["job"]) for event in ends]
        self.assertEqual(told, [("ok", "t-0", "a"), ("ok", "t-1", "b"), ("ok", "t-0", "a")])

    def test_a_timeout_is_unknown(self) -> None:
        events = self.sent(Request(0, "submit", jobs=[self.job("t")], key="k"), 0, b"timed out")
        self.assertEqual([event["type"] for event in events], ["invoke", "info"])

    def test_what_asks_for_no_job_is_not_written_down(self) -> None:
        self.assertEqual(self.sent(Request(0, "conflict", 0, [self.job("t")], "k"), 409, b"{}"), [])


if __name__ == "__main__":
    unittest.main()
