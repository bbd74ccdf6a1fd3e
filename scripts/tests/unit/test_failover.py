"""What `make failover` decides without a stack: what an interruption is, what the report and the events say."""

import json
import math
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from scripts.drills.load import Answer
from scripts.drills.verdict import Verdict
from scripts.failover import __main__ as command
from scripts.failover.faults import FAULTS, Scene
from scripts.failover.figures import STOCK_COLUMN, Accepts, Figures, Jobs, Pause, Writes, interruption
from scripts.failover.timeline import Timeline, sentence
from scripts.failover.writes import longest_silence
from scripts.stack import handover
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import RedisNodes

STACK = Stack(Path("/nowhere"), Path("/nowhere/.env"), {"SUBNET_PREFIX": "10.9.9"}, "celery", "sentinel")
BEFORE = [at / 10 for at in range(100)]  # ten ends a second until 9.9


def figures(
    *,
    recovered: float = 2.4,
    lasted: float = 2.4,
    lost: int = 0,
    ok: int = 1000,
    switched: float | None = 2.3,
    gap: float = 2.35,
    switches: int = 1,
) -> Figures:
    return Figures(
        fault_at=100.0,
        switched=switched,
        switches=switches,
        flows={"fast": Pause(recovered, lasted), "io": Pause()},
        accepts=Accepts(total=1000, ok=ok, p50_ms=5.0, p99_ms=40.0, max_ms=130.0),
        jobs=Jobs(accepted=2000, finished=2000, duplicated=0, extra_executions=3),
        writes=Writes(acknowledged=5000, lost=lost, gap=gap),
    )


class Interruptions(unittest.TestCase):
    def test_the_longest_pause_after_the_fault_counts(self) -> None:
        times = [*BEFORE, 10.2, 13.5, 13.6, 14.6, *(15 + at / 10 for at in range(50))]
        found = interruption(times, fault=10.0, until=18.0)
        self.assertAlmostEqual(found.recovered, 3.5)
        self.assertAlmostEqual(found.lasted, 3.3)

    def test_a_pause_that_is_usual_is_none(self) -> None:
        times = [0.0, 1.0, 2.0, 3.0, 4.5, 5.5, 6.5, 7.5]
        self.assertEqual(interruption(times, fault=3.5, until=6.0), Pause())

    def test_what_never_came_back_is_interrupted_for_ever(self) -> None:
        self.assertEqual(interruption(BEFORE, fault=9.0, until=20.0).recovered, math.inf)
        self.assertEqual(interruption([], fault=9.0, until=20.0).recovered, math.inf)

    def test_the_end_of_the_load_is_no_interruption(self) -> None:
        times = [at / 10 for at in range(300)]
        self.assertEqual(interruption(times, fault=10.0, until=25.0), Pause())


class Windows(unittest.TestCase):
    def test_only_requests_between_fault_and_healing_count(self) -> None:
        sent = ((1.0, 9.0, 503), (2.0, 0.1, 202), (3.0, 0.3, 202), (4.0, 0.2, 0), (9.0, 9.0, 503))
        answers = [Answer(0, sent=at, seconds=spent, late=0.0, status=status) for at, spent, status in sent]
        accepts = Accepts.of(answers, fault=2.0, until=5.0)
        self.assertEqual((accepts.total, accepts.ok, accepts.p50_ms, accepts.max_ms), (3, 2, 200.0, 300.0))

    def test_the_gap_of_writes_may_begin_before_the_fault(self) -> None:
        self.assertAlmostEqual(longest_silence([1.0, 4.0, 4.1, 4.3], after=4.05), 0.2)
        self.assertAlmostEqual(longest_silence([1.0, 4.0, 4.1, 4.3], after=3.0), 3.0)


class Reports(unittest.TestCase):
    def test_holds_what_others_read(self) -> None:
        wanted = {
            "fault_at", "switch_master_s", "recovered_s", "recovered_after_switch_s", "accept_total", "accept_ok_ratio",
            "accept_p99_ms", "jobs_accepted", "jobs_finished", "jobs_lost", "effects_duplicated", "extra_executions",
            "redis_writes_acked", "redis_writes_lost",
        }  # fmt: skip
        report = json.loads(json.dumps(figures().report(), allow_nan=False))
        self.assertEqual(wanted - report.keys(), set())
        self.assertAlmostEqual(report["recovered_after_switch_s"], 0.1)

    def test_says_never_as_minus_one_and_in_words(self) -> None:
        lost = figures(recovered=math.inf)
        self.assertEqual(lost.report()["recovered_s"], -1.0)
        self.assertIn("never", "\n".join(lost.table("freeze")))

    def test_without_a_switch_nothing_is_said_of_after_it(self) -> None:
        self.assertIsNone(figures(switched=None).report()["recovered_after_switch_s"])


class Judgement(unittest.TestCase):
    def broken(self, fault: str, found: Figures, *, judges_time: bool = True) -> int:
        verdict = Verdict("test", judges_time=judges_time)
        command.judge(verdict, FAULTS[fault], found)
        return len(verdict.broken)

    def test_holds_within_the_targets(self) -> None:
        self.assertEqual(self.broken("kill", figures()), 0)

    def test_a_late_recovery_a_refused_accept_and_a_missing_switch_break_it(self) -> None:
        self.assertEqual(self.broken("kill", figures(recovered=4.5)), 2)
        self.assertEqual(self.broken("kill", figures(ok=990)), 1)
        self.assertEqual(self.broken("kill", figures(switched=None)), 1)
        self.assertEqual(self.broken("crash", figures(switched=None)), 0)

    def test_a_second_switch_is_a_false_one_but_where_two_primaries_are_killed(self) -> None:
        self.assertEqual(self.broken("kill", figures(switches=2)), 1)
        self.assertEqual(self.broken("double", figures(switches=2)), 0)

    def test_a_slow_machine_is_judged_by_what_is_lost_and_by_a_return_at_all(self) -> None:
        slow = figures(recovered=9.0, ok=990)
        self.assertEqual(self.broken("kill", slow, judges_time=False), 0)
        for broken in (figures(recovered=math.inf), figures(switched=None)):
            self.assertGreater(self.broken("kill", broken, judges_time=False), 0)
        self.assertEqual(self.broken("planned", figures(lost=1), judges_time=False), 1)
        self.assertEqual(self.broken("kill", figures(ok=890), judges_time=False), 1)

    def test_a_fault_of_many_parts_is_judged_by_how_long_a_flow_stood_still(self) -> None:
        self.assertEqual(self.broken("restart", figures(recovered=30.0, lasted=0.4, gap=0.1)), 0)
        self.assertEqual(self.broken("restart", figures(recovered=30.0, lasted=1.6, gap=0.1)), 1)
        self.assertEqual(self.broken("restart", figures(lasted=math.inf, gap=0.1), judges_time=False), 1)

    def test_an_environment_that_asks_for_neither_judgement_nor_print_is_refused(self) -> None:
        with mock.patch.dict("os.environ", {"TIMES": "maybe"}), self.assertRaises(StackError):
            command.judges_time(command._parser().parse_args([]))


class StockFigures(unittest.TestCase):
    def test_are_the_last_ones_of_this_fault_with_default_settings(self) -> None:
        records = [
            {"fault": "kill", "settings": "default", STOCK_COLUMN: "4.10 s"},
            {"fault": "kill", "settings": "default", STOCK_COLUMN: "5.20 s"},
            {"fault": "kill", "settings": "advised", STOCK_COLUMN: "2.00 s"},
            {"fault": "freeze", "settings": "default", STOCK_COLUMN: "not within 60 s"},
        ]
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            self.assertEqual(command.last_stock(root, "kill"), "")
            (root / ".state").mkdir()
            lines = "".join(f"{json.dumps(record)}\n" for record in records)
            (root / ".state" / "failover-stock.jsonl").write_text(lines)
            self.assertEqual(command.last_stock(root, "kill"), "5.20 s")
        self.assertTrue(any("5.20 s" in line for line in figures().table("kill", stock="5.20 s")))


class Events(unittest.TestCase):
    def test_names_nodes(self) -> None:
        nodes = RedisNodes(STACK)
        self.assertEqual(
            sentence(nodes, "+switch-master", "holdfast 10.9.9.11 6379 10.9.9.13 6379"),
            "+switch-master: redis-1 -> redis-3",
        )
        self.assertTrue(sentence(nodes, "+sdown", "master holdfast 10.9.9.11 6379").startswith("+sdown: redis-1"))

    def test_leaves_out_what_is_not_about_the_primary(self) -> None:
        nodes = RedisNodes(STACK)
        replica = "slave 10.9.9.12:6379 10.9.9.12 6379 @ holdfast 10.9.9.11 6379"
        self.assertEqual(sentence(nodes, "+sdown", replica), "")
        self.assertEqual(sentence(nodes, "+new-epoch", "7"), "")

    def test_notes_each_moment_once_and_none_before_the_fault(self) -> None:
        timeline = Timeline()
        timeline.note("too early")
        timeline.begin("fault")
        timeline.note("+sdown: redis-1", timeline.began + 1.5)
        timeline.note("+sdown: redis-1", timeline.began + 1.2)
        self.assertEqual(timeline.seconds("+sdown"), [1.5])
        self.assertEqual([what for _, what in timeline.record()], ["fault", "+sdown: redis-1"])

    def test_a_sentinel_that_missed_a_switch_makes_no_third_of_two(self) -> None:
        timeline = Timeline()
        timeline.begin("fault")
        for said in ("redis-3 -> redis-2", "redis-2 -> redis-1", "redis-3 -> redis-1"):
            timeline.note(f"+switch-master: {said}")
        self.assertEqual(timeline.successors(), {"redis-1", "redis-2"})


class Faults(unittest.TestCase):
    def test_each_stands_in_the_readme(self) -> None:
        readme = " ".join((Path(__file__).resolve().parents[3] / "README.md").read_text().split())
        listed = readme.partition("`FAULT` is one of `")[2].partition("`")[0].split()
        self.assertEqual(sorted(listed), sorted(FAULTS))

    def test_a_split_leaves_the_clients_their_way(self) -> None:
        scene = mock.Mock(spec=Scene, nodes=RedisNodes(STACK), primary="redis-2")
        peers = Scene.peers(scene)
        self.assertEqual(len(peers), 5)
        self.assertNotIn("10.9.9.12", peers)


class Refusals(unittest.TestCase):
    def test_one_redis_has_nobody_to_take_over(self) -> None:
        alone = Stack(Path("/nowhere"), Path("/.env"), {"COMPOSE_PROJECT_NAME": "x"}, "celery", "standalone")
        with self.assertRaises(StackError) as raised:
            handover.require_sentinels(alone)
        self.assertEqual(raised.exception.fix, "make up TOPOLOGY=sentinel")

    def test_an_unknown_fault_is_answered_with_the_known(self) -> None:
        with self.assertRaises(StackError) as raised:
            command.require_fault("earthquake")
        self.assertIn("freeze", raised.exception.what)
