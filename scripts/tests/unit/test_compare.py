"""What the comparison makes of what a stock app wrote down."""

import json
import tempfile
import unittest
from pathlib import Path
from typing import Any

from scripts.compare import __main__ as compare
from scripts.compare import stock
from scripts.compare.stock import Sent
from scripts.failover.faults import FAULTS
from scripts.failover.timeline import Timeline

FAULT, HEALED = 1000.0, 1060.0
SPARE = 1_000_000


def figures(sent: list[Sent], done: list[tuple[int, float]], *, switched: bool = True) -> stock.StockFigures:
    timeline = Timeline(began=FAULT)
    if switched:
        timeline.note("+switch-master: redis-1 -> redis-2", FAULT + 2)
    return stock.judged("default", sent=sent, done=done, timeline=timeline, healed=HEALED)


class Judged(unittest.TestCase):
    def test_a_worker_is_back_with_the_first_task_that_was_sent_after_the_switch(self) -> None:
        sent = [Sent(1, FAULT - 1, FAULT - 1, "ok"), Sent(SPARE, FAULT + 3, FAULT + 3, "ok")]
        found = figures(sent, [(1, FAULT + 2.5), (SPARE, FAULT + 6)])
        self.assertEqual((found.switched, found.recovered, found.after_switch), (2, 6, 4))

    def test_one_that_the_healing_woke_was_not_back(self) -> None:
        found = figures([Sent(SPARE, FAULT + 3, FAULT + 3, "ok")], [(SPARE, HEALED + 1)])
        self.assertIsNone(found.recovered)
        self.assertEqual(found.never_ran, 0)

    def test_calls_are_ok_refused_or_hung(self) -> None:
        sent = [
            Sent(0, FAULT - 1, FAULT - 1, "ok"),
            Sent(1, FAULT + 1, FAULT + 1.5, "OperationalError"),
            Sent(2, FAULT + 2, None, "begun"),
            Sent(3, FAULT + 3, HEALED + 1, "ok"),
            Sent(4, FAULT + 4, FAULT + 4, "ok"),
        ]
        found = figures(sent, [(0, FAULT), (4, FAULT + 5), (4, FAULT + 6)])
        self.assertEqual((found.calls, found.calls_ok, found.calls_hung), (4, 1, 2))
        self.assertEqual(dict(found.refusals), {"OperationalError": 1})
        self.assertEqual((found.accepted, found.never_ran, found.ran_twice), (3, 1, 1))


class Files(unittest.TestCase):
    def test_a_line_that_is_being_written_is_left(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "sent").write_text("1 10.0 10.0 begun\n1 10.0 10.5 ok\n2 11.0 11.0 begun\n3 12.0 12.")
            self.assertEqual(
                stock._sent(Path(name) / "sent"), [Sent(1, 10.0, 10.5, "ok"), Sent(2, 11.0, None, "begun")]
            )

    def test_ours_is_the_newest_record_of_this_fault_under_this_load(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "failover.jsonl"
            self.assertIsNone(compare.last_record(path, "kill", 60.0))
            runs = [("kill", 60.0), ("freeze", 60.0), ("kill", 60.0), ("kill", 100.0)]
            lines = [json.dumps({"fault": fault, "rate": rate, "n": n}) for n, (fault, rate) in enumerate(runs)]
            path.write_text("\n".join([*lines, '{"fault": "kill", "ra']))
            self.assertEqual(compare.last_record(path, "kill", 60.0), {"fault": "kill", "rate": 60.0, "n": 2})
            self.assertIsNone(compare.last_record(path, "freeze", 100.0))


class Table(unittest.TestCase):
    def test_says_what_did_not_come_back_and_that_ours_is_missing(self) -> None:
        lines = compare.table("freeze", 60.0, [figures([], [])], None)
        self.assertIn("not within 60 s", next(line for line in lines if line.startswith("tasks flow again")))
        self.assertIn("make failover-compare FAULT=freeze RATE=60", lines[-1])

    def test_ours_stands_beside_stock_for_each_fault_that_is_compared(self) -> None:
        for fault in stock.FAULTS:
            lines = compare.table(fault, 60.0, [figures([], [])] * 2, self.ours())
            flowing = next(line for line in lines if line.startswith("... after +switch-master"))
            self.assertEqual(flowing.count("not within 60 s"), 2)
            self.assertTrue(flowing.endswith("0.40 s"))
            self.assertIn("ours: measured then at commit abc, 60 jobs/s, stream", lines[-1])
            self.assertIn(fault, FAULTS)

    def ours(self) -> dict[str, Any]:
        times = {"switch_master_s": 2.5, "recovered_s": 2.9, "recovered_after_switch_s": 0.4, "accept_max_ms": 90.0}
        counts = {"accept_total": 720, "accept_ok_ratio": 1.0, "jobs_lost": 0, "jobs_accepted": 1500}
        found = {"at": "then", "commit": "abc", "rate": 60.0, "mode": "stream", "effects_duplicated": 0}
        return {**times, **counts, **found}

    def test_both_columns_have_the_same_rows(self) -> None:
        ours = compare.our_column(self.ours())
        self.assertEqual(list(ours), list(compare._column(figures([], []))))
