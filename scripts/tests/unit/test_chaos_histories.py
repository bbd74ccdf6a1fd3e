"""What a run's client writes down, and what becomes of the checker's findings."""

import contextlib
import io
import json
import tempfile
import unittest
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from scripts.chaos import histories, run
from scripts.chaos.client import Client, Request
from scripts.chaos.plan import Plan
from scripts.checker import sample
from scripts.drills.load import Target
from scripts.drills.verdict import Verdict
from scripts.stack import history, host_history
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(host_history.stop)
        self.root = Path(folder.name)
        values = {"COMPOSE_PROJECT_NAME": "p", "HOLDFAST_HISTORY": "1"}
        self.stack = Stack(self.root, self.root / ".env", values, "celery", "sentinel")


class Judged(Case):
    def setUp(self) -> None:
        super().setUp()
        self.written = sample.whole(jobs=30, seed=1)

    def judged(self, mode: str = "celery") -> tuple[histories.Judged, str]:
        folder = self.root / ".state" / "p"
        self.written.write(folder)
        with (
            mock.patch.object(history, "collect", return_value=(folder / "history", folder / "rows.jsonl")),
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            return histories.judged(replace(self.stack, mode=mode)), said.getvalue()

    def without(self, op: str, jobs: Collection[str]) -> None:
        self.written.events = [one for one in self.written.events if one["op"] != op or one.get("job") not in jobs]

    def ran(self) -> list[str]:
        return sorted({one["job"] for one in self.written.events if one["op"] == "claim"})

    def test_a_clean_history_has_no_phrase(self) -> None:
        told, said = self.judged()
        self.assertEqual(told.phrases, [])
        self.assertIn(f"history: {len(self.written.events)} events", said)

    def test_a_finding_is_told(self) -> None:
        row = self.written.jobs(state="SUCCEEDED")[0]
        row["state"] = "RUNNING"
        told, said = self.judged()
        self.assertIn(f"lost: {row['id']} never ended: its row is RUNNING", told.phrases)
        self.assertIn("accept ok", said)

    def test_no_event_at_all_is_no_verdict(self) -> None:
        empty = self.root / "empty"
        empty.mkdir()
        with mock.patch.object(history, "collect", return_value=(empty, empty)), self.assertRaises(StackError):
            histories.judged(self.stack)

    def test_an_operation_that_every_run_has_and_no_process_wrote_down_is_no_verdict(self) -> None:
        for op in ("accept", "dispatch", "claim", "finish"):
            self.written = sample.whole(jobs=30, seed=1)
            for one in self.written.events:
                if one["op"] == op:
                    one["actor"] = "host-7-abcd"
            with self.assertRaisesRegex(StackError, f"wrote down any {op}"):
                self.judged()

    def test_the_bridge_writes_in_stream_mode(self) -> None:
        with self.assertRaisesRegex(StackError, "any bridge"):
            self.judged("stream")
        hints = [{**one, "op": "bridge"} for one in self.written.events if one["op"] == "dispatch"]
        self.written.events += hints
        self.assertEqual(self.judged("stream")[0].phrases, [])

    def test_jobs_that_ran_and_were_claimed_by_nobody_are_no_verdict(self) -> None:
        self.without("claim", self.ran()[:6])
        with self.assertRaisesRegex(StackError, "6 of .* jobs ran"):
            self.judged()

    def test_a_few_lost_claims_are_judged_all_the_same(self) -> None:
        self.without("claim", self.ran()[:5])
        self.judged()


class Keeping(Case):
    def broken(self, *promises: str) -> tuple[list[Path], str]:
        """What is kept, and what is said, of two runs of the same seed at different times."""
        events, rows = self.root / "history", self.root / "rows.jsonl"
        events.mkdir()
        (events / "web.jsonl").touch()
        rows.touch()
        told = histories.Judged([], events, rows)
        plan = Plan(5, "stream", "sentinel", 26.0, 80.0, ())
        with contextlib.redirect_stdout(io.StringIO()) as said:
            for at in ("20260101T000000", "20260101T000100"):
                with mock.patch("scripts.chaos.histories.time.strftime", return_value=at):
                    run.keep_broken(Verdict("held", broken=list(promises)), told, plan)
        return sorted((self.root / "histories").glob("*")), said.getvalue()

    def test_a_broken_run_keeps_its_files_and_none_of_another(self) -> None:
        kept, said = self.broken("no accepted job is lost")
        self.assertEqual([one.name for one in kept], ["stream-seed-5-20260101T000000", "stream-seed-5-20260101T000100"])
        for one in kept:
            self.assertIn(str(one), said)
            self.assertTrue((one / "rows.jsonl").is_file() and (one / "history" / "web.jsonl").is_file())

    def test_a_run_that_held_keeps_nothing(self) -> None:
        self.assertEqual(self.broken()[0], [])


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
