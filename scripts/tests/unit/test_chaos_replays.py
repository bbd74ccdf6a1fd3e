"""A storm of replays: no client knows the dead jobs that it makes, and yet no judge may take offence."""

import unittest
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast
from unittest import mock

from scripts.chaos import judging, operation_faults
from scripts.chaos.catalogue import fault_of
from scripts.chaos.counters import Sums
from scripts.chaos.evidence import Evidence, Row
from scripts.chaos.faults import Fault
from scripts.chaos.plan import Plan, Step
from scripts.checker.database import database
from scripts.checker.evidence import lay_out
from scripts.checker.lines import Line
from scripts.checker.rules import judged
from scripts.stack.api_client import ApiClient
from scripts.stack.errors import StackError
from scripts.tests.unit import chaos_fakes as fakes
from scripts.tests.unit.chaos_fakes import FakeTruth


class Storm(unittest.TestCase):
    def storm(self, created: int) -> tuple[Fault, list[tuple[str, Mapping[str, Any]]]]:
        scene = replace(fakes.scene(), tag="run")
        cast(FakeTruth, scene.truth).answers = ["l-1", "l-2"]
        fault = fault_of(scene, Step(0.0, "replay-storm", "", 0.0, 7))
        posted: list[tuple[str, Mapping[str, Any]]] = []

        def post(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
            posted.append((path, body))
            if path != "/dead-letters/replay":
                return {"created": False}
            return {"created": created, "next_cursor": None if body["cursor"] else "c"}

        with mock.patch.object(ApiClient, "of") as found:
            found.return_value.post = post
            self.truth = cast(FakeTruth, scene.truth)
            fault.inject()
        return fault, posted

    def test_it_makes_its_letters_and_replays_each_twice(self) -> None:
        fault, posted = self.storm(created=1)
        self.assertEqual(self.truth.variables[0]["tag"], "run")
        self.assertGreaterEqual(int(self.truth.variables[0]["letters"]), 300)
        paths = [path for path, _ in posted]
        self.assertEqual(paths[:2], ["/dead-letters/replay"] * 2)
        self.assertEqual(sorted(paths[2:4]), ["/dead-letters/l-1/replay", "/dead-letters/l-2/replay"])
        self.assertEqual(self.truth.variables[0]["reason"], posted[0][1]["filter"]["reason"])
        self.assertEqual(fault.hit, "2 jobs replayed; 2 of the letters again: 0 jobs more")

    def test_a_storm_that_replayed_nothing_is_no_fault(self) -> None:
        with self.assertRaisesRegex(StackError, "no dead letter was replayed"):
            self.storm(created=0)

    def test_no_judge_takes_offence_at_what_it_made(self) -> None:
        for words in ("'tick:chaos-letters-'", "replay_of_id", ":'tag' || '-letter-'"):
            self.assertIn(words, operation_faults._DIE)
        dead = Row.parse("a|f|FAILED|0|attempts_exhausted|replay|a|0|0|0|0|5")
        again = Row.parse("b|f|SUCCEEDED|1|-|replay|a|1|0|1|0|5")
        failed = again._replace(state="FAILED", effects=0, reason="attempts_exhausted")
        for rows, broken in (((dead, again), 0), ((dead, again._replace(effects=0)), 1), ((dead, failed), 1)):
            found = Evidence(Plan(1, "stream", "sentinel", 10.0, 50.0, ()), (), {}, rows, (), Sums({}), None, {})
            self.assertEqual(len([phrase for _, judge in judging.JUDGES for phrase in judge(found)]), broken)

    def test_neither_does_the_checker(self) -> None:
        same = {"row": "job", "hash": "default tick:chaos-letters-7:1", "request": "run-letter-1", "max_attempts": 5}
        dead = {**same, "id": "a", "state": "FAILED", "attempt": 5, "accepted": 1.0, "ended": 1.0, "wants": 1}
        dead |= {"schedule": "chaos-letters-7", "tick": "1"}
        again = {**same, "id": "b", "state": "SUCCEEDED", "accepted": 2.0, "ended": 3.0, "replay_of": "a", "wants": 1}
        letter = {"row": "dead_letter", "job": "a", "reason": "attempts_exhausted", "replayed_as": "b"}
        effect = {"row": "effect", "job": "b", "name": "probe", "count": 1}
        self.assertEqual(self.findings(dead, letter, again, effect), [])
        self.assertEqual(self.findings(dead, letter, again), ["lost effect"])
        twice = {**again, "id": "c", "accepted": 9.0}
        twice_done = (twice, {**effect, "job": "c"})
        self.assertEqual(self.findings(dead, letter, again, effect, *twice_done, slack=0.5), ["two open ids"])

    def findings(self, *rows: Mapping[str, Any], slack: float = 5.0) -> list[str]:
        held = database([Line(dict(row), "rows") for row in rows])
        return [finding.defect for finding in judged(lay_out([], held, slack=slack))]


if __name__ == "__main__":
    unittest.main()
