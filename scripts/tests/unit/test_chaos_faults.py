"""Faults and their healing on a stack that is none: whatever is broken is healed, on every way out."""

import io
import json
import unittest
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from http.client import IncompleteRead
from typing import cast
from unittest import mock

from scripts.chaos import clock_faults, nemesis, postgres_faults, redis_faults, restore, run
from scripts.chaos.catalogue import KINDS, fault_of
from scripts.chaos.client import Client
from scripts.chaos.counters import Counters
from scripts.chaos.faults import Fault
from scripts.chaos.nemesis import Nemesis
from scripts.chaos.plan import Plan, Step
from scripts.chaos.scene import Scene
from scripts.stack import processes
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.waiting import wait_until
from scripts.tests.unit import chaos_fakes as fakes
from scripts.tests.unit.chaos_fakes import FakeContainers, FakeNodes, FakeTruth


def step(fault: str, *, at: float = 0.0, lasts: float = 0.05) -> Step:
    return Step(at, fault, KINDS[fault].targets[0], lasts, 7)


def plan_of(*steps: Step) -> Plan:
    return Plan(1, "stream", "sentinel", 10.0, 50.0, steps)


def carried_out(made: Nemesis) -> None:
    with redirect_stdout(io.StringIO()):
        made.start()
        made.await_last()
        made.finish()


class Containers(unittest.TestCase):
    def test_each_verb_breaks_its_service_and_heals_it(self) -> None:
        for verb, done in (("kill", "kill"), ("crash", "crash"), ("freeze", "suspend"), ("stop", "stop")):
            containers = FakeContainers()
            carried_out(Nemesis(plan_of(step(f"{verb}-sweeper")), partial(fault_of, fakes.scene(containers))))
            self.assertEqual(containers.said, [f"{done} sweeper", "recover sweeper", "resume sweeper"])

    def test_what_another_fault_holds_down_is_neither_hit_nor_started(self) -> None:
        for verb in ("kill", "crash", "freeze", "stop", "restart"):
            containers = FakeContainers()
            containers.kill("web")
            name = "restart-service" if verb == "restart" else f"{verb}-web"
            made = Nemesis(plan_of(replace(step(name), target="web")), partial(fault_of, fakes.scene(containers)))
            carried_out(made)
            self.assertFalse(made.deeds[0].applied, verb)
            self.assertEqual(made.deeds[0].failure, "web does not run")
            self.assertEqual(containers.broken, {"web": "kill"})

    def test_a_child_that_had_ended_before_was_not_killed(self) -> None:
        containers = FakeContainers()
        fault = fault_of(fakes.scene(containers), step("oom-child"))
        fault.inject()
        self.assertEqual(fault.hit, "worker-fast process 41")
        containers.kills = False
        with self.assertRaisesRegex(StackError, "41 was not killed"):
            fault.inject()

    def test_a_role_is_looked_up_when_it_happens(self) -> None:
        containers = FakeContainers()
        scene = fakes.scene(containers)
        for name, hit in (("kill-primary", "redis-2"), ("kill-replica", "redis-1|redis-3")):
            fault = fault_of(scene, step(name))
            fault.inject()
            self.assertRegex(fault.hit, hit)
            self.assertIn(fault.hit, fault.describe())
            fault.heal()
        self.assertEqual(containers.broken, {})

    def test_a_lost_log_is_erased_while_the_node_is_down(self) -> None:
        containers = FakeContainers()
        fault = fault_of(fakes.scene(containers), step("lose-log-primary"))
        fault.inject()
        fault.heal()
        self.assertEqual(containers.said, ["kill redis-2", "erase /data redis-2", "recover redis-2"])

    def test_a_majority_is_two_and_all_three_come_back(self) -> None:
        containers = FakeContainers()
        fault = fault_of(fakes.scene(containers), step("sentinel-majority"))
        fault.inject()
        self.assertEqual(len(containers.broken), 2)
        fault.heal()
        self.assertEqual(containers.broken, {})


class Redis(unittest.TestCase):
    def test_commands_go_to_the_node_that_leads(self) -> None:
        wanted = {
            "flush-all": ("redis-2", "FLUSHALL"),
            "delete-stream": ("redis-2", "DEL", "s"),
            "destroy-group": ("redis-2", "XGROUP", "DESTROY", "s", "g"),
        }
        for name, command in wanted.items():
            nodes = FakeNodes()
            fault_of(fakes.scene(nodes=nodes), step(name)).inject()
            self.assertEqual(nodes.commands, [command])

    def test_a_queue_is_deleted_in_all_its_priorities_while_its_worker_is_frozen(self) -> None:
        containers, nodes = FakeContainers(), FakeNodes()
        fault = fault_of(fakes.scene(containers, nodes), step("delete-queue"))
        fault.inject()
        self.assertEqual(nodes.commands[-1], ("redis-2", "DEL", "fast", "fast\x06\x163", "fast\x06\x166"))
        self.assertEqual(containers.broken, {"worker-fast": "suspend"})
        fault.heal()
        self.assertEqual(containers.broken, {})

    def test_a_consumer_is_deleted_with_what_was_read_in_its_name(self) -> None:
        containers, nodes = FakeContainers(), FakeNodes()
        fault = fault_of(fakes.scene(containers, nodes), step("delete-consumer"))
        fault.inject()
        self.assertEqual([command[1] for command in nodes.commands], ["XREADGROUP", "XGROUP"])
        self.assertEqual(nodes.commands[-1][2:], ("DELCONSUMER", "s", "g", "b-1"))
        fault.heal()
        self.assertEqual(containers.said, ["suspend bridge", "recover bridge", "resume bridge"])

    def test_memory_is_given_back_as_the_entrypoint_gives_it(self) -> None:
        nodes = FakeNodes()
        fault = fault_of(fakes.scene(nodes=nodes), step("maxmemory"))
        fault.inject()
        self.assertEqual(set(nodes.memory.values()), {redis_faults.TOO_LITTLE})
        fault.heal()
        self.assertEqual(set(nodes.memory.values()), {"650"})

    def test_only_nodes_that_answered_have_too_little_memory(self) -> None:
        nodes = FakeNodes()
        nodes.silent = {"redis-3"}
        fault = fault_of(fakes.scene(nodes=nodes), step("maxmemory"))
        fault.inject()
        self.assertIn("on 2 nodes", fault.hit)
        nodes.silent = {"redis-1", "redis-2", "redis-3"}
        with self.assertRaisesRegex(StackError, "no Redis node answered"):
            fault.inject()

    def test_to_delete_what_is_not_there_is_no_fault(self) -> None:
        for name in ("delete-stream", "destroy-group"):
            nodes = FakeNodes()
            nodes.answer = 0
            with self.assertRaisesRegex(StackError, "found nothing on redis-2"):
                fault_of(fakes.scene(nodes=nodes), step(name)).inject()

    def test_hints_that_were_gone_are_no_fault(self) -> None:
        nodes = FakeNodes()
        ask = nodes.ask
        with (
            mock.patch.object(nodes, "ask", lambda node, *words: 0 if words[0] == "DEL" else ask(node, *words)),
            self.assertRaisesRegex(StackError, "hints of fast were gone"),
        ):
            fault_of(fakes.scene(nodes=nodes), step("delete-queue")).inject()

    def test_a_node_that_is_silent_is_told_of(self) -> None:
        nodes = FakeNodes()
        nodes.silent = {"redis-3"}
        self.assertEqual(redis_faults.restore_maxmemory(fakes.scene(nodes=nodes)), ["redis-3"])


class Sessions(unittest.TestCase):
    def setUp(self) -> None:
        self.scene = fakes.scene()
        self.truth = cast(FakeTruth, self.scene.truth)

    def test_a_lock_is_held_before_anybody_says_so(self) -> None:
        for name, mode in (("row-locks", "RowShareLock"), ("table-lock", "ShareRowExclusiveLock")):
            self.truth.answers = ["1"]
            fault_of(self.scene, step(name)).inject()
            self.assertEqual(self.truth.variables[-1], {"name": "holdfast-chaos", "mode": mode})

    def test_a_lock_that_nobody_got_is_no_fault(self) -> None:
        with (
            mock.patch.object(postgres_faults, "_LOCK_SECONDS", 0.0),
            self.assertRaisesRegex(StackError, "table-lock got no lock"),
        ):
            fault_of(self.scene, step("table-lock")).inject()

    def test_without_a_session_and_without_a_connection_there_is_no_fault(self) -> None:
        with self.assertRaisesRegex(StackError, "nobody had a session"):
            fault_of(self.scene, step("postgres-backends")).inject()
        with (
            mock.patch.object(postgres_faults.PoolExhausted, "_address", return_value="10.9.9.9"),
            mock.patch.object(Stack, "value", return_value="x"),
            mock.patch.object(postgres_faults, "begun_login", return_value=None),
            self.assertRaisesRegex(StackError, "no connection was left"),
        ):
            fault_of(self.scene, step("pool-exhausted")).inject()


class Release(unittest.TestCase):
    def test_every_service_of_the_application_is_restarted_once_one_after_the_other(self) -> None:
        containers = FakeContainers()
        fault_of(fakes.scene(containers), step("rolling-restart")).inject()
        wanted = ["bridge", "sweeper", "web", "worker-cpu", "worker-fast", "worker-io"]
        self.assertEqual(sorted(containers.said), [f"restart {name}" for name in wanted])


class Clocks(unittest.TestCase):
    def setUp(self) -> None:
        patched = mock.patch.object(processes, "read", side_effect=self.read)
        patched.start()
        self.addCleanup(patched.stop)
        self.compose: list[tuple[list[str], str]] = []

    def read(self, argv: list[str], *, stdin: str = "", **_: object) -> str:
        self.compose.append((argv[-4:], stdin))
        return ""

    def test_a_service_runs_from_the_other_image_for_the_time_of_the_fault(self) -> None:
        containers = FakeContainers()
        fault = fault_of(fakes.scene(containers), step("clock-sweeper"))
        fault.inject()
        fault.heal()
        up = ["up", "--detach", "--no-deps", "sweeper"]
        skewed = json.dumps({"services": {"sweeper": {"image": "holdfast/skewed:1"}}})
        self.assertEqual(self.compose, [(up, skewed), (up, "")])
        self.assertEqual(containers.said, ["sweeper: sh"])
        self.assertRegex(fault.hit, r"^sweeper by [+-]\d+ s$")

    def test_what_a_dead_run_left_with_a_wrong_clock_is_made_anew(self) -> None:
        containers = FakeContainers()
        clock_faults.true_clocks(fakes.scene(containers))
        self.assertEqual(self.compose, [])
        containers.images["bridge"] = "holdfast/skewed:1"
        clock_faults.true_clocks(fakes.scene(containers))
        self.assertEqual([argv[-1] for argv, _ in self.compose], ["bridge"])


class Disk(unittest.TestCase):
    def test_the_volume_is_emptied_before_postgres_is_started(self) -> None:
        containers = FakeContainers()
        fault = fault_of(fakes.scene(containers), step("disk-full-postgres"))
        fault.inject()
        self.assertIn("150 MiB", fault.describe())
        fault.heal()
        said = ["postgres-volume: sh", "postgres-volume: rm", "recover postgres", "resume postgres"]
        self.assertEqual(containers.said, said)
        self.assertIs(restore.PARTS[0], postgres_faults.drop_ballast)

    def test_a_stack_without_its_holder_has_nothing_to_fill(self) -> None:
        containers = FakeContainers()
        containers.kill("postgres-volume")
        with self.assertRaisesRegex(StackError, "postgres-volume does not run"):
            fault_of(fakes.scene(containers), step("disk-full-postgres")).inject()


class Schedules(unittest.TestCase):
    def test_a_storm_is_named_by_its_run_and_ends_when_nothing_is_due(self) -> None:
        scene = replace(fakes.scene(), tag="run")
        truth = cast(FakeTruth, scene.truth)
        fault = fault_of(scene, step("schedule-storm"))
        fault.inject()
        self.assertEqual(truth.variables[-1]["tag"], "run")
        self.assertIn("600 ticks", fault.describe())
        truth.answers = ["3"]
        with self.assertRaisesRegex(StackError, "3 schedules still have ticks"):
            fault.heal()
        truth.answers = ["0"]
        fault.heal()


class Healing(unittest.TestCase):
    def test_overlapping_faults_are_all_healed(self) -> None:
        containers = FakeContainers()
        names = ("kill-web", "freeze-worker", "stop-postgres", "kill-sentinel", "freeze-primary")
        made = Nemesis(plan_of(*map(step, names)), partial(fault_of, fakes.scene(containers)))
        carried_out(made)
        self.assertEqual(containers.broken, {})
        self.assertTrue(all(deed.applied and deed.healed for deed in made.deeds))

    def test_what_is_broken_is_healed_at_once_when_a_run_is_broken_off(self) -> None:
        containers = FakeContainers()
        plan = plan_of(step("kill-web", lasts=600.0), step("kill-sweeper", at=600.0))
        made = Nemesis(plan, partial(fault_of, fakes.scene(containers)))
        with redirect_stdout(io.StringIO()):
            made.start()
            wait_until(lambda: containers.broken, within=60.0, otherwise="nothing was broken", pause=0.01)
            made.finish()
        self.assertEqual(containers.said, ["kill web", "recover web", "resume web"])
        self.assertIsNone(made.deeds[1].began)

    def test_a_fault_that_finds_nothing_counts_for_nothing_and_is_still_asked_to_heal(self) -> None:
        containers = FakeContainers()
        containers.refuses = {"kill": 1}
        made = Nemesis(plan_of(step("kill-web")), partial(fault_of, fakes.scene(containers)))
        carried_out(made)
        self.assertFalse(made.deeds[0].applied)
        self.assertIn("refused", made.deeds[0].failure)
        self.assertEqual(containers.said, ["recover web", "resume web"])

    def test_a_fault_that_fails_half_way_is_healed_and_leaves_the_run_without_a_verdict(self) -> None:
        healed: list[str] = []

        class Half(Fault):
            def inject(self) -> None:
                raise ZeroDivisionError

            def heal(self) -> None:
                healed.append(self.step.fault)

        made = Nemesis(plan_of(step("kill-web")), lambda one: Half(fakes.scene(), one))
        with (
            redirect_stderr(io.StringIO()) as traceback,
            self.assertRaisesRegex(StackError, "kill-web .* nobody foresaw: ZeroDivisionError"),
        ):
            carried_out(made)
        self.assertEqual(healed, ["kill-web"])
        self.assertIn("ZeroDivisionError", traceback.getvalue())
        self.assertFalse(made.deeds[0].applied)
        made.finish()

    def test_a_fault_counts_once_its_injection_has_returned(self) -> None:
        applied: list[bool] = []

        class Slow(Fault):
            def inject(self) -> None:
                applied.append(made.deeds[0].applied)

        made = Nemesis(plan_of(step("kill-web")), lambda one: Slow(fakes.scene(), one))
        carried_out(made)
        self.assertEqual([*applied, made.deeds[0].applied], [False, True])

    def test_a_healing_that_failed_is_left_to_the_end_of_the_run(self) -> None:
        containers = FakeContainers()
        containers.refuses = {"recover": 2}
        scene = fakes.scene(containers)
        carried_out(Nemesis(plan_of(step("kill-web")), partial(fault_of, scene)))
        self.assertEqual(containers.broken, {"web": "kill"})
        restore.heal(scene, within=30.0, parts=restore.PARTS[:2])
        self.assertEqual(containers.broken, {})

    def test_a_stack_that_cannot_be_healed_is_a_sentence(self) -> None:
        containers = FakeContainers()
        containers.refuses = {"recover": 99}
        with self.assertRaisesRegex(StackError, "could not be healed"):
            restore.heal(fakes.scene(containers), within=0.0)

    def test_everything_that_a_fault_can_leave_is_undone_by_whoever_comes_next(self) -> None:
        kept = ("kill", "freeze", "stop", "maxmemory", "sentinel-majority", "lose")
        for name in (name for name in KINDS if name.startswith(kept)):
            containers, nodes = FakeContainers(), FakeNodes()
            scene = fakes.scene(containers, nodes)
            fault_of(scene, step(name)).inject()
            truth = cast(FakeTruth, scene.truth)
            restore.heal(scene, within=0.0)
            self.assertEqual(containers.broken, {}, name)
            self.assertEqual(set(nodes.memory.values()), {"650"})
            self.assertIn("pg_terminate_backend", truth.scripts[-2])
            self.assertIn("paused", truth.scripts[-1])


class BrokenLoad:
    """A client that ends a run as Ctrl-C does."""

    def __init__(self) -> None:
        self.stopped = False

    def start(self) -> None:
        pass

    def join(self) -> None:
        raise KeyboardInterrupt

    def stop(self) -> None:
        self.stopped = True


class NoCounters:
    def start(self) -> None:
        pass


class Interrupted(unittest.TestCase):
    def test_ctrl_c_leaves_a_whole_stack(self) -> None:
        containers, load = FakeContainers(), BrokenLoad()
        scene = fakes.scene(containers)
        containers.refuses = {"recover": 1}
        made = Nemesis(plan_of(step("kill-web", lasts=0.01)), partial(fault_of, scene))
        with redirect_stdout(io.StringIO()), self.assertRaises(KeyboardInterrupt):
            run.under_faults(scene, cast(Client, load), made, cast(Counters, NoCounters()))
        self.assertEqual(containers.broken, {})
        self.assertTrue(load.stopped)


class Reasons(unittest.TestCase):
    def test_errors_of_a_fault_in_the_way_are_known(self) -> None:
        self.assertTrue(issubclass(ConnectionRefusedError, nemesis.IN_THE_WAY))
        self.assertTrue(issubclass(StackError, nemesis.IN_THE_WAY))
        self.assertTrue(issubclass(IncompleteRead, nemesis.IN_THE_WAY))

    def test_recovery_counts_from_the_healing_where_nobody_takes_over(self) -> None:
        scene: Scene = fakes.scene()
        self.assertFalse(fault_of(scene, step("kill-web")).is_taken_over)
        self.assertTrue(fault_of(scene, step("kill-primary")).is_taken_over)


if __name__ == "__main__":
    unittest.main()
