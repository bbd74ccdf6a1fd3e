"""A series of failovers: what is still to do, and the table over what was done."""

import json
import math
import tempfile
import unittest
from pathlib import Path
from typing import Any

from scripts.failover.faults import FAULTS
from scripts.failover.series import Series, line, load, since_origin, table

SERIES = Series(("kill", "stop"), None, 100.0, seed=7, mode="celery", down_after_ms=1000)


def record(**changes: object) -> dict[str, Any]:
    return {
        "series": SERIES.name,
        "number": 0,
        "fault": "kill",
        "mode": "celery",
        "rate": 100.0,
        "down_after_ms": 1000,
        "bounds_writes": False,
        "verdict": "held",
        "recovered_s": 2.0,
        "counted_from_s": 0.0,
        "recovered_after_switch_s": 0.2,
        "flows": {"cpu": {"interrupted_s": 2.2}, "fast": {"interrupted_s": 0.7}},
        "redis_write_gap_s": 2.1,
        "redis_writes_lost": 4,
        "accept_total": 1000,
        "accept_ok_ratio": 1.0,
        "accept_p99_ms": 40.0,
        "jobs_accepted": 2000,
        "jobs_lost": 0,
        "effects_duplicated": 0,
        "extra_executions": 1,
        **changes,
    }


class StillToDo(unittest.TestCase):
    def test_common_faults_run_more_often(self) -> None:
        order = SERIES.still_to_do([])
        self.assertEqual(sorted(order), [("kill", n) for n in range(10)] + [("stop", n) for n in range(5)])

    def test_faults_take_turns(self) -> None:
        numbers = [number for _, number in SERIES.still_to_do([])]
        self.assertEqual(numbers, sorted(numbers))

    def test_what_is_done_is_not_done_again_and_another_series_does_not_count(self) -> None:
        done = [record(), record(number=1), record(number=2, series="another")]
        left = SERIES.still_to_do(done)
        self.assertNotIn(("kill", 0), left)
        self.assertNotIn(("kill", 1), left)
        self.assertIn(("kill", 2), left)
        self.assertEqual(len(left), 13)

    def test_the_seed_decides_order_and_runs(self) -> None:
        again = Series(("kill", "stop"), None, 100.0, seed=7, mode="celery", down_after_ms=1000)
        self.assertEqual(SERIES.still_to_do([]), again.still_to_do([]))
        self.assertEqual(SERIES.seed_of("kill", 3), again.seed_of("kill", 3))
        self.assertNotEqual(SERIES.seed_of("kill", 3), SERIES.seed_of("stop", 3))


class Tables(unittest.TestCase):
    def test_median_and_spread(self) -> None:
        text = line("kill", [record(), record(recovered_s=3.0), record(recovered_s=9.0, verdict="broken")])
        self.assertIn("3.00 (2.00 to 9.00)", text)
        self.assertRegex(text, r"^kill +3 +2 ")

    def test_writes_count_only_where_none_may_be_lost(self) -> None:
        self.assertTrue(line("kill", [record()]).endswith(" -"))
        self.assertTrue(line("stop", [record(bounds_writes=True, redis_writes_lost=4)]).endswith(" 4"))

    def test_recovery_counts_from_its_origin_and_never_is_never(self) -> None:
        self.assertEqual(since_origin(record(recovered_s=5.0, counted_from_s=4.5)), 0.5)
        self.assertEqual(since_origin(record(recovered_s=-1.0)), math.inf)
        self.assertIn("inf", line("kill", [record(recovered_after_switch_s=-1.0)]))

    def test_what_breaks_many_things_counts_how_long_a_flow_stood_still(self) -> None:
        self.assertEqual(since_origin(record(fault="restart", recovered_s=9.0)), 2.2)
        never = {"cpu": {"interrupted_s": -1.0}, "fast": {"interrupted_s": 0.7}}
        self.assertEqual(since_origin(record(fault="restart", flows=never)), math.inf)

    def test_seconds_after_the_switch_where_recovery_counts_from_the_fault(self) -> None:
        self.assertIn("0.20 (0.20 to 0.20)", line("kill", [record()]))
        self.assertNotIn("0.20", line("double", [record(fault="double")]))

    def test_a_block_for_each_mode(self) -> None:
        lines = table([record(), record(mode="stream")])
        self.assertEqual(sum("mode, 100 jobs/s, down-after 1000 ms" in text for text in lines), 2)

    def test_every_fault_has_a_place(self) -> None:
        records = [record(fault=fault) for fault in FAULTS]
        self.assertEqual(len(table(records)), 3 + len(FAULTS))

    def test_a_torn_line_and_another_command_s_are_skipped(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.jsonl"
            path.write_text(json.dumps(record()) + '\n{"fault": "kill"}\n{"fau')
            self.assertEqual(load(path), [record()])
            self.assertEqual(load(Path(folder) / "none"), [])


if __name__ == "__main__":
    unittest.main()
