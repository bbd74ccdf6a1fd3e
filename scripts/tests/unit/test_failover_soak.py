"""What `make failover-soak` decides without a stack: its order, what counts as done, what turns and looks make of what
they see, and that nothing stays broken.
"""

import argparse
import contextlib
import io
import json
import tempfile
import unittest
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from scripts.bench import results
from scripts.drills import holdings, lives, workload
from scripts.drills.lives import Life
from scripts.failover import soak, soak_records, turn
from scripts.failover.faults import FAULTS, Scene
from scripts.failover.soak_records import Soak
from scripts.failover.turn import TURNS, Turn
from scripts.failover.watching import POOLS
from scripts.stack import console, restart
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

ROOT = Path(__file__).resolve().parents[3]
STACK = Stack(Path("/nowhere"), Path("/nowhere/.env"), {"COMPOSE_PROJECT_NAME": "none"}, "celery", "sentinel")
SOAK = Soak(rounds=20, rate=50.0, seed=7, mode="celery")
Record = dict[str, Any]


def turn_of(number: int, *, fault: str = "kill", broken: tuple[str, ...] = (), flow: float = 0.3) -> Record:
    return {
        **SOAK.identity(), "line": "turn", "number": number, "fault": fault, "broken": list(broken), "switch_s": 2.5,
        "flows": {"fast": 0.1, "cpu": flow}, "whole_s": 9.0, "seconds": 11.0, "writes_lost": 0, "primary": "redis-1",
        "leader": "redis-2",
    }  # fmt: skip


def look_after(turns: int, *, descriptors: int = 100, session: str = "a", **members: Any) -> Record:  # noqa: ANN401
    held = {"web": {"descriptors": descriptors, "sockets": 40, "memory_mib": 90.0}}
    look = {"line": "look", "session": session, "turns": turns, "held": held, "broken": [], "accepted": 10}
    return {**SOAK.identity(), **look, **members}


def whole_soak() -> list[Record]:
    return [look_after(0), *map(turn_of, range(1, 21)), look_after(10), look_after(20)]


class Plan(unittest.TestCase):
    def test_each_fault_comes_equally_often_and_once_in_each_round_of_five(self) -> None:
        order = Soak(200, 50.0, 7, "stream").faults()
        self.assertEqual(Counter(order), dict.fromkeys(TURNS, 40))
        for at in range(0, 200, 5):
            self.assertEqual(set(order[at : at + 5]), set(TURNS))

    def test_the_seed_decides(self) -> None:
        self.assertEqual(SOAK.faults(), Soak(20, 50.0, 7, "stream").faults())
        self.assertNotEqual(SOAK.faults(), Soak(20, 50.0, 8, "stream").faults())
        self.assertEqual(SOAK.chance(3).random(), SOAK.chance(3).random())

    def test_every_turn_is_a_fault_that_there_is(self) -> None:
        self.assertLessEqual(set(TURNS), FAULTS.keys())


class Verdicts(unittest.TestCase):
    def said(self, records: list[Record]) -> tuple[str, int]:
        lines, status = soak_records.verdict(SOAK, records)
        return "\n".join(lines), status

    def test_a_whole_soak_holds(self) -> None:
        text, status = self.said(whole_soak())
        self.assertEqual(status, 0)
        self.assertIn("20 of 20 turns: 30 jobs accepted, 0 lost", text)

    def test_what_was_cut_short_is_quoted_with_its_count_and_fails(self) -> None:
        text, status = self.said([look_after(0), *map(turn_of, range(1, 14)), look_after(10)])
        self.assertEqual(status, 1)
        self.assertIn("cut short after 10 of 20 turns", text)

    def test_a_broken_turn_stays_broken_when_it_ran_again(self) -> None:
        again = [turn_of(3, broken=("fast stands still after the switch",)), *whole_soak()]
        self.assertIn("broken: turn 3 (kill): fast stands still", self.said(again)[0])
        self.assertEqual(self.said(again)[1], 1)

    def test_a_broken_look_fails(self) -> None:
        self.assertEqual(self.said([*whole_soak(), look_after(20, broken=["lost: 1 of 10 accepted jobs"])])[1], 1)

    def test_one_descriptor_more_in_each_turn_is_a_leak_and_a_pool_that_fills_is_none(self) -> None:
        def grown(more: int) -> list[str]:
            looks = [look_after(at, descriptors=100 + more * at // 190) for at in (0, 10, 100, 200)]
            return [what for growth in soak_records.growths(looks) for what in growth.broken()]

        self.assertEqual(grown(30), [])
        self.assertIn("web holds 190 descriptors more after 190 turns", grown(190)[0])

    def test_the_look_before_any_work_and_other_sessions_are_not_compared(self) -> None:
        first = [look_after(0, descriptors=10), look_after(10), look_after(20)]
        second = [look_after(20, descriptors=10, session="b"), look_after(30, descriptors=900, session="b")]
        (growth,) = soak_records.growths([*first, *second])
        self.assertEqual((growth.turns, growth.broken()), (10, []))

    def test_the_table_says_the_slowest_flow_of_each_turn(self) -> None:
        rows = soak_records.table([turn_of(1, flow=0.4), turn_of(2, flow=0.8), turn_of(3, flow=0.5)])
        self.assertIn("0.50 / 0.80", next(row for row in rows if row.startswith("kill")))


class Resumption(unittest.TestCase):
    def chosen(self, records: list[Record], *, resume: bool, mode: str = "celery") -> Soak:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "soak.jsonl"
            path.write_text("".join(json.dumps(one) + "\n" for one in records) + '{"line": "turn", "numb')
            asked = argparse.Namespace(resume=resume, rounds=20, rate=50.0, seed=7)
            stack = Stack(Path("/nowhere"), Path("/nowhere/.env"), {}, mode, "sentinel")
            return soak.chosen_soak(asked, stack, path)

    def test_goes_on_with_the_newest(self) -> None:
        older = {**look_after(0), **Soak(5, 10.0, 1, "stream").identity()}
        self.assertEqual(self.chosen([older, *whole_soak()], resume=True), SOAK)

    def test_refuses_to_begin_the_same_twice_to_go_on_with_nothing_and_in_another_mode(self) -> None:
        with self.assertRaises(StackError) as begun:
            self.chosen(whole_soak(), resume=False)
        self.assertIn("RESUME=1", begun.exception.fix)
        with self.assertRaises(StackError):
            self.chosen([], resume=True)
        with self.assertRaises(StackError) as other:
            self.chosen(whole_soak(), resume=True, mode="stream")
        self.assertEqual(other.exception.fix, "make mode MODE=celery")

    def test_turns_after_the_last_look_run_again(self) -> None:
        self.assertEqual(soak_records.done([look_after(0), *map(turn_of, range(1, 14)), look_after(10)]), 10)


class Sessions(unittest.TestCase):
    """With turns that are told what happens to them."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "soak.jsonl"
        self.load = mock.Mock()
        self.ran: list[str] = []
        self.failures = 0
        for target, name, value in (
            (soak, "Turn", self.turn),
            (workload, "probe_load", mock.Mock(return_value=self.load)),
            (soak.Session, "_await_flow", mock.Mock()),
            (soak.Session, "_look_at_rest", look_at_rest),
            (soak.Session, "_judge", lambda session, _load, _tag, _at, number: look_at_rest(session, number)),
        ):
            patched = mock.patch.object(target, name, value)
            patched.start()
            self.addCleanup(patched.stop)

    def turn(self, _stack: Stack, fault: str, **_given: object) -> mock.Mock:
        self.ran.append(fault)
        made = mock.Mock()
        record = {name: value for name, value in turn_of(0, fault=fault).items() if name not in {"line", "number"}}
        own = {name: value for name, value in record.items() if name not in SOAK.identity()}
        made.carry_out.side_effect = StackError("No.", fix="make ps") if self.failures else None
        made.carry_out.return_value = own
        self.failures -= bool(self.failures)
        return made

    def carry_out(self, wanted: Soak = SOAK) -> int:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return soak.carry_out(STACK, wanted, every=10, path=self.path)

    def lines(self) -> Counter[str]:
        return Counter(one["line"] for one in results.load(self.path))

    def test_a_line_for_each_turn_and_a_look_after_each_ten(self) -> None:
        self.assertEqual(self.carry_out(), 0)
        self.assertEqual(self.lines(), {"turn": 20, "look": 3})
        self.assertEqual(self.ran, SOAK.faults())

    def test_a_turn_that_came_to_no_verdict_is_repeated(self) -> None:
        self.failures = soak.MOST_STUMBLES
        self.assertEqual(self.carry_out(), 0)
        self.assertEqual(self.lines(), {"turn": 20, "look": 3, "stumble": 2})

    def test_gives_up_when_no_turn_comes_to_a_verdict_and_goes_on_later(self) -> None:
        self.failures = soak.MOST_STUMBLES + 1
        with self.assertRaises(StackError):
            self.carry_out()
        self.load.stop.assert_called_once_with()
        self.assertEqual(self.lines(), {"look": 1, "stumble": 3})
        self.assertEqual(self.carry_out(), 0)

    def test_an_interrupt_ends_the_load_and_the_next_call_begins_after_the_last_look(self) -> None:
        with mock.patch.object(console, "say", side_effect=[*[None] * 13, KeyboardInterrupt, *[None] * 100]):
            self.assertRaises(KeyboardInterrupt, self.carry_out)
        self.assertEqual(soak_records.done(results.load(self.path)), 10)
        self.ran.clear()
        self.assertEqual(self.carry_out(), 0)
        self.assertEqual(self.ran, SOAK.faults()[10:])


def look_at_rest(session: soak.Session, number: int) -> None:
    session._keep("look", turns=number, held={}, broken=[])


class FakeWatch:
    """Notes what it was told to see once the fault is there."""

    sees: tuple[str, ...] = ()

    def __init__(self, _stack: Stack, scene: mock.Mock, _writes: object, *, tag: str) -> None:
        self.scene, self.tag = scene, tag

    def start(self) -> None:
        inject = self.scene.inject_then

        def note() -> None:
            for after, words in enumerate(self.sees, start=2):
                self.scene.timeline.note(words, self.scene.timeline.began + after)

        inject.append(note)

    def stop(self) -> None:
        """Nothing runs."""


SWITCH = "+switch-master: redis-1 -> redis-2"
FLOWS = tuple(f"first job of pool {pool} done that was claimed after the switch" for pool in POOLS)


class Turns(unittest.TestCase):
    def setUp(self) -> None:
        self.scene: mock.Mock | None = None
        self.after = {"c1": Life("redis-1", "later", 0, True), "c2": Life("web", "then", 0, True)}
        self.lost = 0

    @contextlib.contextmanager
    def fakes(self, sees: tuple[str, ...], in_step: mock.Mock) -> Iterator[None]:
        before = {"c1": Life("redis-1", "then", 0, True), "c2": Life("web", "then", 0, True)}
        writes = mock.Mock(acknowledged=[1.0, 2.0])
        writes.lost.side_effect = lambda: self.lost
        nodes = mock.Mock()
        nodes.elected.return_value = "redis-1"
        with contextlib.ExitStack() as patches:
            for target, name, value in (
                (turn, "RedisNodes", mock.Mock(return_value=nodes)),
                (turn, "Containers", mock.Mock()),
                (turn, "Scene", self.make_scene),
                (turn, "NumberedWrites", mock.Mock(return_value=writes)),
                (turn, "SentinelEvents", mock.Mock()),
                (turn, "Watch", type("Seeing", (FakeWatch,), {"sees": sees})),
                (restart, "is_in_step", in_step),
                (lives, "look", mock.Mock(side_effect=[before, self.after])),
                (turn, "first_ends", mock.Mock(return_value=dict.fromkeys(POOLS, 1.0))),
                (turn, "SWITCH_SECONDS", 0.0),
                (turn, "FLOW_SECONDS", 0.0),
            ):
                patches.enter_context(mock.patch.object(target, name, value))
            yield

    def make_scene(self, *given: Any, **named: Any) -> mock.Mock:  # noqa: ANN401
        self.scene = mock.Mock(nodes=given[0], containers=given[1], timeline=given[2], inject_then=[], **named)
        return self.scene

    def record(
        self, fault: str, *sees: str, inject: BaseException | None = None, in_step: mock.Mock | None = None
    ) -> Record:
        def injected(_scene: Scene) -> None:
            assert self.scene
            for then in self.scene.inject_then:
                then()
            if inject:
                raise inject

        with self.fakes(sees, in_step or mock.Mock(return_value=True)):
            one = Turn(STACK, fault, tag="t", chance=Random(1))
            one._chance = mock.Mock(random=mock.Mock(return_value=0.0))
            one._fault = replace(FAULTS[fault], inject=injected)
            return one.carry_out()

    def test_says_when_each_flow_was_back_after_the_switch(self) -> None:
        record = self.record("kill", SWITCH, *FLOWS)
        self.assertEqual(record["broken"], [])
        self.assertAlmostEqual(record["switch_s"], 2.0)
        self.assertEqual(record["flows"], {"cpu": 1.0, "fast": 2.0, "io": 3.0})

    def test_a_flow_that_stands_still_and_a_missing_switch_break_it(self) -> None:
        self.assertIn("fast, io stands still", self.record("kill", SWITCH, FLOWS[0])["broken"][0])
        self.assertIn("no +switch-master", self.record("freeze", *FLOWS)["broken"][0])

    def test_a_node_that_was_back_before_anybody_missed_it_is_no_break(self) -> None:
        record = self.record("crash")
        self.assertEqual((record["broken"], record["switch_s"], record["flows"]), ([], None, {}))

    def test_only_the_node_that_the_fault_ends_may_begin_anew(self) -> None:
        self.assertEqual(self.record("planned", SWITCH, *FLOWS)["broken"], ["redis-1 began anew"])
        self.after["c2"] = Life("web", "then", 1, True)
        self.assertEqual(self.record("kill", SWITCH, *FLOWS)["broken"], ["web began anew"])

    def test_an_acknowledged_write_may_be_lost_by_a_kill_and_by_no_hand_over(self) -> None:
        self.lost, self.after["c1"] = 3, Life("redis-1", "then", 0, True)
        self.assertEqual(self.record("kill", SWITCH, *FLOWS)["broken"], [])
        self.assertEqual(self.record("planned", SWITCH, *FLOWS)["broken"], ["3 acknowledged writes lost"])

    def test_nodes_that_do_not_agree_again_break_it(self) -> None:
        apart = mock.Mock(side_effect=[True, *[False] * 1000])
        with mock.patch.object(turn, "WHOLE_SECONDS", 0.0):
            record = self.record("kill", SWITCH, *FLOWS, in_step=apart)
        self.assertIn("do not agree", record["broken"][0])
        self.assertIsNone(record["whole_s"])
        self.assertIn("whole never", soak_records.turn_line(SOAK, 1, record))

    def test_heals_whatever_ends_it(self) -> None:
        for end in (KeyboardInterrupt(), StackError("No.", fix="make ps")):
            with self.assertRaises(type(end)):
                self.record("kill", inject=end)
            assert self.scene
            self.scene.heal.assert_called_once_with()


LISTING = """\
@ 1 (docker-init) S 0 1 1 0
VmRSS:	     100 kB
@ 7 (celery) S 1 7 7 0
VmRSS:	   10240 kB
total 0
lr-x------ 1 10001 10001 64 Nov 21 10:00 0 -> /dev/null
lrwx------ 1 10001 10001 64 Nov 21 10:00 3 -> socket:[123]
@ 41 (celery) R 7 7 7 0
VmRSS:	    5120 kB
total 0
lrwx------ 1 10001 10001 64 Nov 21 10:00 3 -> socket:[123]
lrwx------ 1 10001 10001 64 Nov 21 10:00 4 -> anon_inode:[eventpoll]
@ 90 (sh) S 0 90 90 0
VmRSS:	    1000 kB
total 0
lrwx------ 1 10001 10001 64 Nov 21 10:00 9 -> socket:[5]
"""


class Holdings(unittest.TestCase):
    def test_counts_what_the_services_own_processes_hold(self) -> None:
        held = holdings.parsed(LISTING)
        self.assertEqual((held.processes, held.descriptors, held.sockets), (frozenset({7, 41}), 4, 2))
        self.assertEqual(held.memory_mib, 15.0)

    def test_a_process_that_ended_between_two_looks_is_told(self) -> None:
        self.assertEqual(lives.ended({"web": {7}, "worker-fast": {7, 41}}, {"web": {7, 9}, "worker-fast": {7, 42}}),
                         ["1 processes of worker-fast ended"])  # fmt: skip

    def test_a_worker_that_leaves_says_what_is_looked_for(self) -> None:
        self.assertIn(lives.LEAVES, (ROOT / "app" / "worker" / "progress.py").read_text())


if __name__ == "__main__":
    unittest.main()
