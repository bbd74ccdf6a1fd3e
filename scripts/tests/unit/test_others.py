"""What `make others` makes of what a system wrote down."""

import tempfile
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.others import tables, verdict
from scripts.others.verdict import Cell

STRIKE = 1000.0


def record(
    accepts: dict[str, str], *, effects: dict[str, int], rows: Sequence[str], **members: object
) -> dict[str, Any]:
    """`accepts`: request -> how its call ended; "" = it never came back."""
    history: list[dict[str, Any]] = []
    for call, (key, answer) in enumerate(accepts.items()):
        at = {"mono": float(call), "wall": STRIKE + call, "actor": "client", "call": call, "op": "accept"}
        history.append({"type": "invoke", "request": key, **at})
        if answer:
            told = {"job": key} if answer == "ok" else {}
            history.append({"type": answer, "request": key, **told, **at})
    for key, count in effects.items():
        history += [{"type": "ok", "op": "claim", "actor": "worker", "job": key, "mono": 50.0, "wall": 0.0}] * count
    state = {"ok": "OPEN"}
    jobs = [
        {
            "row": "job",
            "id": key,
            "request": key,
            "state": "DONE" if key in effects else state.get(accepts[key], "NOT_PROMISED"),
            "kept": key == "kept",
        }
        for key in rows
    ]
    done = [
        {"row": "effect", "job": key, "name": "effect", "count": count, "first": STRIKE + 10}
        for key, count in effects.items()
    ]
    base: dict[str, Any] = {
        "fault": "redis-flush",
        "seed": 7,
        "system": "celery-delay",
        "strikes": [STRIKE],
        "elections": 0,
        "requests": len(accepts),
    }
    return {**base, "history": history, "rows": [*jobs, *done], **members}


def judged(accepts: dict[str, str], **given: Any) -> Cell:  # noqa: ANN401 - as `record` takes them
    with tempfile.TemporaryDirectory() as name:
        return verdict.judged(record(accepts, **given), Path(name) / "cell")


class Judged(unittest.TestCase):
    def test_a_system_that_does_each_job_once_keeps_its_promise(self) -> None:
        found = judged({"a": "ok", "b": "ok"}, effects={"a": 1, "b": 1}, rows=["a", "b"])
        self.assertEqual((found.accepted, found.lost, found.twice, found.extra_executions), (2, 0, 0, 0))
        self.assertEqual((found.recovered, found.slowest), (10.0, 10.0))
        self.assertFalse(found.broke_its_promise)

    def test_accepted_without_an_effect_is_lost_also_when_a_message_of_it_is_held(self) -> None:
        found = judged({"a": "ok", "gone": "ok", "kept": "ok"}, effects={"a": 1}, rows=["a", "gone", "kept"])
        self.assertEqual((found.accepted, found.lost, found.kept), (3, 2, 1))
        self.assertTrue(found.broke_its_promise)

    def test_an_effect_too_many_is_twice_however_often(self) -> None:
        found = judged({"a": "ok", "b": "ok"}, effects={"a": 3, "b": 1}, rows=["a", "b"])
        self.assertEqual((found.twice, found.extra_executions), (1, 2))
        self.assertTrue(found.broke_its_promise)

    def test_what_was_refused_is_not_lost(self) -> None:
        found = judged({"a": "ok", "b": "fail", "c": "info"}, effects={"a": 1}, rows=["a", "c"])
        self.assertEqual((found.accepted, found.refused, found.lost, found.stranded), (1, 2, 0, 0))
        self.assertFalse(found.broke_its_promise)

    def test_a_refusal_that_left_its_row_is_told(self) -> None:
        found = judged({"a": "ok", "b": "fail"}, effects={"a": 1}, rows=["a", "b"])
        self.assertEqual((found.refused, found.stranded), (1, 1))
        self.assertTrue(found.broke_its_promise)

    def test_an_effect_of_a_request_that_was_rolled_back_is_a_ghost(self) -> None:
        found = judged({"a": "ok", "b": "fail"}, effects={"a": 1, "b": 1}, rows=["a"])
        self.assertEqual((found.ghosts, found.lost), (1, 0))
        self.assertTrue(found.broke_its_promise)

    def test_a_call_that_hangs_and_what_waits_behind_it_is_neither_accepted_nor_refused(self) -> None:
        found = judged({"a": "ok", "b": ""}, effects={"a": 1}, rows=["a"], requests=5)
        self.assertEqual((found.accepted, found.refused, found.unanswered), (1, 0, 4))

    def test_who_accepted_nothing_has_shown_nothing(self) -> None:
        self.assertTrue(judged({"a": "fail"}, effects={}, rows=[]).broke_its_promise)

    def test_only_what_was_accepted_after_the_strike_shows_recovery(self) -> None:
        found = judged({"a": "ok"}, effects={"a": 1}, rows=["a"], strikes=[STRIKE + 5])
        self.assertEqual((found.recovered, found.slowest), (None, 10.0))


class Tables(unittest.TestCase):
    def test_runs_are_added_and_what_a_fault_cannot_reach_is_a_dash(self) -> None:
        one = judged({"a": "ok", "b": "ok"}, effects={"a": 1}, rows=["a", "b"])
        other = judged({"a": "ok"}, effects={"a": 2}, rows=["a"], seed=8)
        third = judged({"a": "ok"}, effects={"a": 1}, rows=["a"], fault="worker-kill", system="procrastinate")
        summary = "\n".join(tables.summary([one, other, third]))
        self.assertRegex(summary, r"celery-delay +1 / 1 +-")
        self.assertRegex(summary, r"procrastinate +- +0 / 0")
        self.assertRegex("\n".join(tables.figures([one, other])), r"redis-flush +celery-delay +3 of 3 +0 +0 +1 +1 +1")

    def test_who_did_not_recover_in_one_run_never_did(self) -> None:
        never = judged({"a": "ok"}, effects={"a": 1}, rows=["a"], strikes=[STRIKE + 5])
        self.assertIn("never", "\n".join(tables.figures([never])))


if __name__ == "__main__":
    unittest.main()
