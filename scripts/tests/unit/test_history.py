"""What the host writes down, and `make history`: fetch, dump, judge."""

import argparse
import contextlib
import dataclasses
import io
import json
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from scripts.drills.load import Answer, Load, Target
from scripts.stack import down, history, host_history, processes, start_record
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.postgres import Postgres

REPOSITORY = Path(__file__).resolve().parents[3]
ACCEPTED = {"type": "ok", "op": "accept", "actor": "web", "job": "a", "mono": 1.0, "wall": 1001.5}
ROW = {"row": "job", "id": "a", "state": "SUCCEEDED"}


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(host_history.stop)
        values = {"COMPOSE_PROJECT_NAME": "p", "HOLDFAST_HISTORY": "1"}
        self.stack = Stack(Path(folder.name), Path(folder.name) / ".env", values, "celery", "sentinel")

    def events(self) -> list[dict[str, Any]]:
        files = sorted(host_history.folder(self.stack).glob("*.jsonl"))
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]


class Target200(Target):
    """Answers without a network; `status` and body by the request's number."""

    answers: Mapping[str, tuple[int, str, bytes]] = {}

    def send(self, *_: object, key: str = "", **__: object) -> tuple[int, str, bytes]:
        return self.answers[key]


class Client(Case):
    def load(self) -> Load:
        target = Target200("", 0, {})
        target.__class__.answers = {
            "t-0": (202, "", b'{"id": "a"}'),
            "t-1": (0, "", b"timed out"),
            "t-2": (429, "1", b"{}"),
            "t-3": (503, "1", b'{"detail": "whether this one was accepted is unknown."}'),
        }
        return Load(target, "/jobs", make_body=lambda _: {}, count=4, rate=1000, key="t")

    def test_a_timeout_is_unknown_and_only_a_clear_no_is_a_refusal(self) -> None:
        host_history.start(self.stack)
        load = self.load()
        for index in range(4):
            load.send(index)
        self.assertEqual(
            [(event["type"], event["request"]) for event in self.events()],
            [(type_, f"t-{n}") for n, end in enumerate(("ok", "info", "fail", "info")) for type_ in ("invoke", end)],
        )
        self.assertEqual(self.events()[1]["job"], "a")
        self.assertEqual(len({event["call"] for event in self.events()}), 4)

    def test_a_stack_that_writes_nothing_down_leaves_no_file(self) -> None:
        values = {**self.stack.values, "HOLDFAST_HISTORY": "0"}
        host_history.start(dataclasses.replace(self.stack, values=values))
        self.load().send(0)
        host_history.fault("kill", "redis-1")
        self.assertFalse(host_history.folder(self.stack).exists())

    def test_the_fate_of_an_answer(self) -> None:
        fates = {(202, b'{"id": "a"}'): "ok", (422, b""): "fail", (500, b""): "info", (0, b""): "info"}
        for (status, body), fate in fates.items():
            self.assertEqual(Answer(0, 0.0, 0.0, 0.0, status, body=body).fate, fate)


class Faults(Case):
    def test_each_is_written_down_when_it_was_done(self) -> None:
        host_history.start(self.stack)
        with (
            mock.patch.object(Containers, "ids", return_value=["c1"]),
            mock.patch.object(processes, "read", return_value="7 (gunicorn) S 1 7 7 0\n"),
            mock.patch.object(processes, "succeeds", return_value=True),
        ):
            containers = Containers("p")
            containers.kill("redis-1", "redis-2")
            containers.crash("web")
            containers.start("redis-1")
        self.assertEqual(
            [(event["op"], event["type"], event["fault"], event["target"]) for event in self.events()],
            [
                ("fault", "ok", "kill", "redis-1 redis-2"),
                ("fault", "ok", "kill process", "c1 7"),
                ("fault", "ok", "crash", "web"),
                ("fault", "ok", "start", "redis-1"),
            ],
        )


class Judging(Case):
    def said(self, row: Mapping[str, object], *argv: str) -> tuple[int, str]:
        def copy(argv: list[str], **_: object) -> str:
            (Path(argv[-1]) / "web.jsonl").write_text(json.dumps(ACCEPTED) + "\n")
            return ""

        parser = argparse.ArgumentParser()
        history.add_arguments(parser)
        with (
            mock.patch.object(Containers, "ids", return_value=["c1"]),
            mock.patch.object(processes, "read", side_effect=copy),
            mock.patch.object(Postgres, "lines", return_value=json.dumps(row) + "\n") as self.dumped,
            contextlib.redirect_stdout(io.StringIO()) as output,
        ):
            status = history.run(parser.parse_args(argv), self.stack)
        return status, output.getvalue()

    def test_a_clean_history_holds(self) -> None:
        status, said = self.said(ROW)
        self.assertEqual(status, 0)
        self.assertIn("1 events, 1 jobs: 1 accepted, 1 ended", said)
        self.assertIn("verdict: held", said)
        self.assertEqual(self.dumped.call_args.kwargs, {"since": "1001.5"}, "rows since the first event")

    def test_a_lost_job_is_its_exit_status_and_the_files_stay_for_another_look(self) -> None:
        status, said = self.said({**ROW, "state": "RUNNING"})
        self.assertEqual(status, 1)
        self.assertIn("lost: 1 (a)", said)
        again = said.splitlines()[-1]
        self.assertIn("python3 -m scripts.checker --history", again)
        self.assertTrue(Path(again.split()[-1]).is_file())

    def test_a_stack_that_writes_nothing_down_is_an_error_with_the_command_to_run(self) -> None:
        values = {**self.stack.values, "HOLDFAST_HISTORY": "0"}
        with self.assertRaisesRegex(StackError, "HOLDFAST_HISTORY=1 >> .env"):
            history.require_on(dataclasses.replace(self.stack, values=values))

    def test_a_stack_that_was_never_started_is_an_error_with_the_command_to_run(self) -> None:
        with mock.patch.object(Containers, "ids", return_value=[]), self.assertRaisesRegex(StackError, "make up"):
            history.collect(self.stack)

    def test_a_new_history_begins_with_empty_files(self) -> None:
        host_history.start(self.stack)
        host_history.fault("kill", "redis-1")
        with (
            mock.patch.object(Containers, "ids", return_value=["c1"]),
            mock.patch.object(processes, "read", return_value="") as read,
        ):
            history.clear(self.stack)
        self.assertEqual(read.call_args.args[0][:3], ["docker", "exec", "c1"])
        self.assertEqual(self.events(), [])
        host_history.fault("start", "redis-1")
        self.assertEqual([event["fault"] for event in self.events()], ["start"])


class Down(Case):
    def down(self, *, volumes: bool) -> None:
        with (
            mock.patch.multiple(down, Toolbox=mock.DEFAULT, Compose=mock.DEFAULT) as made,
            mock.patch.object(start_record, "record_path", return_value=self.stack.root / "record"),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            made["Compose"].return_value.call_quietly.return_value = 0
            down.down(self.stack, volumes=volumes)

    def test_what_the_host_wrote_down_goes_with_the_data_and_not_before(self) -> None:
        host_history.start(self.stack)
        host_history.fault("kill", "redis-1")
        self.down(volumes=False)
        self.assertEqual(len(self.events()), 1)
        self.down(volumes=True)
        self.assertEqual(self.events(), [])


class Script(unittest.TestCase):
    def test_dumps_every_kind_of_row_that_the_checker_knows_but_the_default_machine(self) -> None:
        text = (REPOSITORY / "scripts" / "stack" / "history.sql").read_text()
        for row in ("job", "step", "effect", "dead_letter", "schedule"):
            self.assertIn(f"'row', '{row}'", text)


if __name__ == "__main__":
    unittest.main()
