"""What drills decide without a stack: plans, victims, the client's ledger, what a whole stack is."""

import io
import math
import struct
import tempfile
import unittest
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scripts.drills import __main__ as command
from scripts.drills import (
    exposition,
    machine,
    outcome,
    raster,
    recovery_bounds,
    redis_loss,
    rolling_restart,
    steady_state,
    worker_kills,
    workload,
)
from scripts.drills.client_ledger import ClientLedger
from scripts.drills.load import Answer
from scripts.drills.postgres_outage import Outage
from scripts.drills.truth import Census, Times
from scripts.drills.verdict import Verdict
from scripts.drills.worker_kills import Kill
from scripts.stack.containers import Process

Json = dict[str, Any]
README = (Path(__file__).resolve().parents[3] / "README.md").read_text()


def answer(index: int, status: int, body: bytes = b"{}", sent: float = 0.0) -> Answer:
    return Answer(index, sent=sent, seconds=0.1, late=0.0, status=status, body=body)


class Names(unittest.TestCase):
    def test_each_drill_stands_in_the_readme(self) -> None:
        self.assertEqual([name for name in command.names() if f"make drill NAME={name}" not in README], [])

    def test_an_unknown_name_is_answered_with_the_known(self) -> None:
        self.assertEqual(command.main(["no-such-drill"]), 1)


class KillPlan(unittest.TestCase):
    def test_the_seed_decides_everything(self) -> None:
        self.assertEqual(worker_kills.plan(7, kills=50, jobs=1000), worker_kills.plan(7, kills=50, jobs=1000))
        self.assertNotEqual(worker_kills.plan(7, kills=50, jobs=1000), worker_kills.plan(8, kills=50, jobs=1000))

    def test_kills_lie_in_order_within_the_load_and_reach_every_service(self) -> None:
        kills = worker_kills.plan(7, kills=50, jobs=1000)
        times = [kill.index for kill in kills]
        self.assertEqual(times, sorted(times))
        self.assertTrue(times[0] >= 50 and times[-1] < 950)
        self.assertEqual({kill.services[0] for kill in kills}, set(worker_kills.SERVICES))
        self.assertTrue(all(set(kill.services) == set(worker_kills.SERVICES) for kill in kills))

    def test_reads_the_engine_s_nanoseconds(self) -> None:
        started = (datetime.now(UTC) - timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
        self.assertAlmostEqual(worker_kills.age(started), 30.0, delta=5.0)

    def test_a_pool_of_processes_is_at_work_when_it_has_forked(self) -> None:
        main, child = Process(7, 1), Process(41, 7)
        self.assertFalse(worker_kills.is_at_work("worker-fast", [main]))
        self.assertTrue(worker_kills.is_at_work("worker-fast", [main, child]))
        self.assertTrue(worker_kills.is_at_work("bridge", [main]))
        self.assertFalse(worker_kills.is_at_work("bridge", []))

    def test_takes_a_child_only_where_there_is_one(self) -> None:
        kill = Kill(index=0, services=("worker-fast",), takes_child=True, container_share=0.0, process_share=0.99)
        main, first, second = Process(7, 1), Process(41, 7), Process(42, 7)
        self.assertEqual(worker_kills.victim_of(kill, [main, first, second]), second)
        self.assertEqual(worker_kills.victim_of(kill, [main, Process(60, 41)]), main)


class Workload(unittest.TestCase):
    def test_the_mix_reaches_every_pool_and_has_work_to_interrupt(self) -> None:
        works = [workload.mixed(index) for index in range(10)]
        self.assertEqual({work.kind for work in works}, {"probe.fast", "probe.io", "probe.cpu"})
        self.assertGreater(max(work.work_ms for work in works), 100)

    def test_the_even_mix_asks_each_pool_once_in_three(self) -> None:
        works = [workload.even(index) for index in range(90)]
        for place in range(0, 90, 3):
            self.assertEqual({work.kind for work in works[place : place + 3]}, {"probe.fast", "probe.io", "probe.cpu"})
        self.assertGreater(max(work.work_ms for work in works), 100)


class Ledger(unittest.TestCase):
    def test_tells_a_clear_no_from_an_answer_that_leaves_it_open(self) -> None:
        self.assertTrue(answer(0, 503, b'{"detail": "nothing of this request was accepted."}').is_clear_no)
        self.assertTrue(answer(0, 429).is_clear_no)
        self.assertFalse(answer(0, 503, b'{"detail": "whether this one was accepted is unknown."}').is_clear_no)
        self.assertFalse(answer(0, 500).is_clear_no)
        self.assertFalse(answer(0, 0).is_clear_no)

    def test_repeats_what_has_no_id_until_it_has_one(self) -> None:
        ledger = ClientLedger()
        for first in (answer(0, 202, b'{"id": "a"}'), answer(1, 0), answer(2, 429)):
            ledger.note(first)
        self.assertEqual((ledger.ids, ledger.unknown, ledger.refused), ({0: "a"}, [1], [2]))
        repeated: list[int] = []

        def send(index: int) -> Answer:
            repeated.append(index)
            return answer(index, 200, b'{"id": "b%d"}' % index)

        ledger.settle(send, within=60)
        self.assertEqual((sorted(repeated), ledger.without_id()), ([1, 2], []))
        self.assertEqual(ledger.ids, {0: "a", 1: "b1", 2: "b2"})

    def test_a_clear_no_is_untrue_when_the_repetition_finds_the_job_there(self) -> None:
        ledger = ClientLedger(refused=[0, 1, 2])
        told = {
            0: [answer(0, 202, b'{"id": "a"}')],
            1: [answer(1, 200, b'{"id": "b"}')],
            2: [answer(2, 0), answer(2, 200, b'{"id": "c"}')],  # its repetition may have been the one that was accepted
        }
        ledger.settle(lambda index: told[index].pop(0), within=60)
        self.assertEqual((set(ledger.ids), ledger.untrue), ({0, 1, 2}, [1]))

    def test_gives_up_in_time(self) -> None:
        ledger = ClientLedger()
        ledger.note(answer(0, 0))
        ledger.settle(lambda index: answer(index, 503), within=0)
        self.assertEqual(ledger.without_id(), [0])


class Accepts(unittest.TestCase):
    def judged(self, *answers: Answer, judges_time: bool = True) -> int:
        with redirect_stdout(io.StringIO()):
            verdict = Verdict("", judges_time=judges_time)
            outcome.judge_accepts(verdict, answers, jobs=2, before=1)
            return verdict.status()

    def test_every_request_has_to_be_accepted(self) -> None:
        self.assertEqual(self.judged(answer(0, 202), answer(1, 202)), 0)
        self.assertEqual(self.judged(answer(0, 202)), 1)
        for status in (0, 429, 500, 503):
            self.assertEqual(self.judged(answer(0, 202), answer(1, status)), 1)

    def test_a_busy_machine_excuses_what_postgres_answers_and_nothing_else(self) -> None:
        self.assertEqual(self.judged(answer(0, 202), answer(1, 503), judges_time=False), 0)
        self.assertEqual(self.judged(answer(0, 202), answer(1, 500), judges_time=False), 1)

    def test_a_request_that_was_sent_late_was_late(self) -> None:
        self.assertEqual(self.judged(answer(0, 202), replace(answer(1, 202), late=5.0)), 1)


class BusyMachine(unittest.TestCase):
    def test_says_what_passed_between_two_looks(self) -> None:
        pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        before = machine.parsed("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2\n", pressure % 1_000_000, at=10.0)
        after = machine.parsed("cpu  140 5 120 825 10 0 0 0 0 0\ncpu0 1 2\n", pressure % 3_000_000, at=20.0)
        self.assertRegex(machine.between(before, after), r"^\d+ cores, 65% busy; .* 20% of the time$")
        self.assertRegex(machine.between(before, after._replace(waited=None)), r"^\d+ cores, 65% busy$")


class Outages(unittest.TestCase):
    def test_a_request_is_inside_when_even_the_first_deadline_is_over(self) -> None:
        outage = Outage(failed=100.0, given_back=110.0, returned=112.0)
        self.assertEqual([outage.is_inside(answer(0, 503, sent=at)) for at in (101, 105, 109)], [False, True, False])


class Counting(unittest.TestCase):
    def test_extra_executions_are_a_share_of_jobs(self) -> None:
        census = Census(
            requests=200, jobs=200, open=0, succeeded=200, once=200, twice=0,
            executions=203, rescues=3, hand_backs=0, slowest_seconds=1.0,
        )  # fmt: skip
        self.assertAlmostEqual(census.extra_executions, 0.015)


class LostHints(unittest.TestCase):
    def test_only_jobs_that_were_hinted_again_count_as_moved(self) -> None:
        lost = Times(accepted=1.0, hinted=12.5, claimed=13.0, rescued=math.inf)
        held_by_a_worker = Times(accepted=1.0, hinted=1.0, claimed=10.2, rescued=math.inf)
        accepted_later = Times(accepted=11.0, hinted=12.0, claimed=12.1, rescued=math.inf)
        moved = redis_loss.moved_again([lost, held_by_a_worker, accepted_later], failed=10.0, returned=12.0)
        self.assertEqual(moved, [1.0])


class RollingRestart(unittest.TestCase):
    def test_restarts_each_service_once_postgres_last(self) -> None:
        services = ["postgres", "web", "worker-io", "worker-fast", "redis-1", "prometheus", "scenes"]
        steps = rolling_restart.steps(services)
        self.assertEqual(sorted(name for step in steps for name in step), sorted(services))
        self.assertEqual((steps[0], steps[-1]), (("worker-fast",), ("postgres",)))

    def test_a_request_keeps_its_job_when_it_is_repeated(self) -> None:
        work = rolling_restart.Interrupted()
        work.want(workload.Work("probe.io", 45_000))
        self.assertEqual([work(7), work(7)], [workload.Work("probe.io", 45_000)] * 2)
        self.assertEqual(work(8), workload.mixed(8))


class Bounds(unittest.TestCase):
    def test_a_bound_without_a_measurement_does_not_hold(self) -> None:
        bound = recovery_bounds.Bound("flush", "until jobs move again", 5.0, [])
        self.assertFalse(bound.holds())

    def test_the_slowest_find_decides(self) -> None:
        found = [recovery_bounds.Found(hinted=1.0, claimed=9.0), recovery_bounds.Found(hinted=6.0, claimed=6.1)]
        self.assertFalse(recovery_bounds.Bound("flush", "", 5.0, found).holds())
        self.assertTrue(recovery_bounds.Bound("flush", "", 5.6, found).holds())


class Raster(unittest.TestCase):
    def test_offsets_and_sizes_cover_the_file_to_its_end(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.tif"
            raster.write(path, edge=100, seed=1)
            data = path.read_bytes()
        (count,) = struct.unpack_from("<H", data, 8)
        entries = {
            tag: (kind, values, at) for tag, kind, values, at in struct.iter_unpack("<HHII", data[10 : 10 + 12 * count])
        }
        strips, offsets_at, sizes_at = entries[273][1], entries[273][2], entries[279][2]
        offsets = struct.unpack_from(f"<{strips}I", data, offsets_at)
        sizes = struct.unpack_from(f"<{strips}I", data, sizes_at)
        ends = [offset + size for offset, size in zip(offsets, sizes, strict=True)]
        self.assertEqual((list(offsets[1:]), ends[-1]), (ends[:-1], len(data)))
        self.assertEqual(sum(sizes), 100 * 100 * 2 * raster.BANDS)


class Exposition(unittest.TestCase):
    def test_sums_over_labels_and_leaves_longer_names_alone(self) -> None:
        text = 'jobs_total{pool="a"} 2.0\njobs_total{pool="b"} 3.0\njobs_total_created 9\n# jobs_total 4\n'
        self.assertEqual(exposition.total(text, "jobs_total"), 5.0)
        self.assertEqual(exposition.total(text, "absent_total"), 0.0)


class SteadyState(unittest.TestCase):
    def container(self, status: str, health: str = "", *, restart: str = "unless-stopped", code: int = 0) -> Json:
        state: dict[str, Any] = {"Status": status, "ExitCode": code}
        if health:
            state["Health"] = {"Status": health}
        return {
            "State": state,
            "Config": {"Labels": {"com.docker.compose.service": "web"}},
            "HostConfig": {"RestartPolicy": {"Name": restart}},
        }

    def phrases(self, *containers: Json) -> list[str]:
        return steady_state.ill_containers(containers)

    def test_a_running_healthy_one_and_an_ended_one_shot_are_well(self) -> None:
        self.assertEqual(self.phrases(self.container("running", "healthy"), self.container("running")), [])
        self.assertEqual(self.phrases(self.container("exited", restart="no")), [])

    def test_a_paused_one_is_ill_whatever_its_last_check_said(self) -> None:
        self.assertEqual(self.phrases(self.container("paused", "healthy")), ["web is paused"])

    def test_the_next_command_thaws_what_is_frozen_and_starts_what_is_not(self) -> None:
        self.assertEqual(
            steady_state.remedy("web is paused; bridge is exited; redis-1 is paused"),
            'make compose DO="unpause web redis-1"',
        )
        self.assertEqual(steady_state.remedy("bridge is exited"), "make up")

    def test_names_the_stopped_the_starting_and_the_failed_one_shot(self) -> None:
        found = self.phrases(
            self.container("exited"),
            self.container("running", "starting"),
            self.container("exited", restart="no", code=1),
        )
        self.assertEqual(found, ["web is exited", "web is starting", "web is exited"])


if __name__ == "__main__":
    unittest.main()
