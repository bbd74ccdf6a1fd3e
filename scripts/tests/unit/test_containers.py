"""Which containers a service has, and which processes of one a drill may kill."""

import os
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from scripts.stack import containers, processes
from scripts.stack.containers import (
    PROBE_MARGIN_SECONDS,
    Containers,
    Process,
    is_between_probes,
    parse_processes,
)
from scripts.stack.errors import StackError

#: tini, Celery's parent with a child and a zombie, a child whose name imitates the format, and a visiting shell.
STATS = """\
1 (docker-init) S 0 1 1 0
7 (celery) S 1 7 7 0
41 (celery) R 7 7 7 0
42 (celery) Z 7 7 7 0
43 (a) R 9 (b) S 7 7 7 0
90 (sh) S 0 90 90 0
91 (sh) R 90 90 90 0
92 (cat) R 91 90 90 0
"""


class Ids(unittest.TestCase):
    LISTED = "c1 web\nc2 sweeper\nc3 web\nc4 \n"  # the last one belongs to no service

    def ids(self, *services: str) -> list[str]:
        with mock.patch.object(processes, "read", return_value=self.LISTED):
            return Containers("p").ids(*services)

    def test_of_services_in_the_order_asked_for_and_of_all(self) -> None:
        self.assertEqual(self.ids("sweeper", "web", "nothing"), ["c2", "c1", "c3"])
        self.assertEqual(self.ids(), ["c1", "c2", "c3", "c4"])


class Processes(unittest.TestCase):
    def test_keeps_the_living_of_the_container_itself_main_process_first(self) -> None:
        self.assertEqual(parse_processes(STATS), [Process(7, 1), Process(41, 7), Process(43, 7)])

    def test_a_container_that_does_not_run_has_none(self) -> None:
        self.assertEqual(parse_processes(""), [])


class Pause(unittest.TestCase):
    FREEZE = StackError("`docker pause c1` failed: OCI runtime pause failed: unable to freeze: unknown", fix="")

    def pause(self, *answers: object) -> int:
        """How often Docker was asked."""
        with (
            mock.patch.object(Containers, "ids", return_value=["c1"]),
            mock.patch.object(processes, "read", side_effect=("[{}]", *answers)) as asked,
            mock.patch.object(containers, "is_between_probes", return_value=True) as between,
        ):
            Containers("p").pause("postgres")
        between.assert_called_once()
        return asked.call_count - 1

    def test_is_tried_again_where_the_runtime_gave_up_on_a_busy_host(self) -> None:
        self.assertEqual(self.pause(self.FREEZE, self.FREEZE, ""), 3)

    def test_another_error_is_told_at_once(self) -> None:
        with self.assertRaisesRegex(StackError, "already paused"):
            self.pause(StackError("Container c1 is already paused", fix=""), "")


class Crash(unittest.TestCase):
    def crash(self, ids: list[str], stats: str, *, kills: bool) -> None:
        with (
            mock.patch.object(Containers, "ids", return_value=ids),
            mock.patch.object(processes, "read", return_value=stats),
            mock.patch.object(processes, "succeeds", return_value=kills),
        ):
            Containers("p").crash("web")

    def test_one_that_hit_nothing_is_an_error(self) -> None:
        self.crash(["c1"], STATS, kills=True)
        nothing: list[str] = []
        for ids, stats, kills in ((nothing, STATS, True), (["c1"], "", True), (["c1"], STATS, False)):
            with self.assertRaisesRegex(StackError, "no process of web was killed"):
                self.crash(ids, stats, kills=kills)

    def test_a_sender_that_ends_with_the_container_has_killed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            docker = Path(folder) / "docker"
            docker.write_text('#!/bin/sh\nexit "$2"\n')  # the container's name is how it ends
            docker.chmod(0o755)
            with mock.patch.dict(os.environ, {"PATH": f"{folder}:{os.environ['PATH']}"}):
                killed = [Containers("p").kill_process(status, Process(7, 1)) for status in ("0", "137", "1", "126")]
        self.assertEqual(killed, [True, True, False, False])

    def test_a_command_in_a_service_that_does_not_run_is_a_sentence(self) -> None:
        with (
            mock.patch.object(Containers, "ids", return_value=[]),
            self.assertRaisesRegex(StackError, "web does not run"),
        ):
            Containers("p").run_in("web", "true")


class Probes(unittest.TestCase):
    def inspected(self, *ends: str, interval: float = 15.0) -> dict[str, Any]:
        log = [{"End": end} for end in ends]
        state = {"StartedAt": "1970-01-01T00:01:40.000000000Z", "Health": {"Log": log}}
        return {"Config": {"Healthcheck": {"Interval": int(interval * 1e9)}}, "State": state}

    def test_one_is_due_an_interval_after_the_end_of_the_last(self) -> None:
        ended_at_200 = self.inspected("1970-01-01T00:03:05.5Z", "1970-01-01T00:03:20.000000001Z")
        self.assertTrue(is_between_probes(ended_at_200, now=205.0))
        self.assertFalse(is_between_probes(ended_at_200, now=215.0 - PROBE_MARGIN_SECONDS / 2))
        self.assertFalse(is_between_probes(ended_at_200, now=215.3))

    def test_the_first_is_due_an_interval_after_the_start(self) -> None:
        self.assertTrue(is_between_probes(self.inspected(), now=101.0))
        self.assertFalse(is_between_probes(self.inspected(), now=115.1))

    def test_without_a_health_check_no_time_is_a_bad_one(self) -> None:
        without: dict[str, Any] = {"Config": {}, "State": {"StartedAt": "1970-01-01T00:00:01Z"}}
        self.assertTrue(is_between_probes(without, now=9.0))


if __name__ == "__main__":
    unittest.main()
