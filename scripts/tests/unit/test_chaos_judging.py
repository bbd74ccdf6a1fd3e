"""What a run is judged by, without a stack: the client's script and account, rows, counters, looks."""

import io
import json
import math
import threading
import unittest
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any
from unittest import mock

from scripts.chaos import client, counters, invariants, judging, run
from scripts.chaos.catalogue import KINDS
from scripts.chaos.client import Client, Request, Told, ids_of, script
from scripts.chaos.evidence import Evidence, Row, recovery_of
from scripts.chaos.invariants import LiveInvariants
from scripts.chaos.nemesis import Deed
from scripts.chaos.plan import Plan, Step
from scripts.drills.load import Target
from scripts.drills.verdict import Verdict
from scripts.stack.errors import StackError
from scripts.stack.verify_data import Finding

PLAN = Plan(7, "stream", "sentinel", 40.0, 50.0, ())


def job(**params: object) -> dict[str, Any]:
    return {"kind": "probe.fast", "farm_id": "f", "params": {"tag": "t", **params}, "force": True}


def row(name: str, state: str = "SUCCEEDED", effects: int = 1, **more: object) -> Row:
    plain = Row(
        name, True, state, effects, "-", "-", name, executions=1, rescues=0, hints=1, retries=0, most_attempts=5
    )
    return plain._replace(**more)  # type: ignore[arg-type]


def told(*ids: str, statuses: Sequence[int] = (202,)) -> Told:
    return Told([(one,) for one in ids], list(statuses))


def evidence(requests: Sequence[Request], account: Mapping[int, Told], *rows: Row) -> Evidence:
    return Evidence(PLAN, requests, account, rows, (), counters.Sums(), None, {})


def one(*rows: Row, **params: object) -> Evidence:
    """One submit, told the id "a"."""
    return evidence([Request(0, "submit", jobs=[job(**params)], key="k")], {0: told("a")}, *rows)


def worker_lost(**more: object) -> Row:
    """As the sweeper leaves a job whose five attempts all lost their lease."""
    return row("a", "FAILED", 0, **{"reason": "worker_lost", "executions": 5, "rescues": 4, "hints": 5, **more})


def deeds(fault: str, target: str = "", failure: str = "") -> tuple[Deed, ...]:
    return (Deed(Step(1.0, fault, target, 0.0, 1), began=1.0, failure=failure),)


def broken(found: Evidence) -> list[str]:
    return [name for name, judged in judging.JUDGES if judged(found)]


class Script(unittest.TestCase):
    def setUp(self) -> None:
        self.requests = script(PLAN, tag="t", began=1e9)

    def test_the_seed_decides_everything(self) -> None:
        self.assertEqual(self.requests, script(PLAN, tag="t", began=1e9))
        self.assertNotEqual(self.requests, script(replace(PLAN, seed=6), tag="t", began=1e9))

    def test_every_act_occurs_and_most_are_plain_submits(self) -> None:
        acts = Counter(request.act for request in self.requests)
        self.assertEqual(set(acts), set(client.ACTS))
        self.assertGreater(acts["submit"], 0.7 * len(self.requests))

    def test_two_jobs_of_every_fifth_seed_kill_their_worker(self) -> None:
        for seed, count in ((4, 0), (5, 2), (6, 0), (10, 2)):
            requests = script(replace(PLAN, seed=seed), tag="t", began=1e9)
            poison = [one for one in requests if one.jobs and "crash" in one.jobs[0]["params"]]
            self.assertEqual(len(poison), count)
            self.assertTrue(all(one.may_fail and one.act == "submit" for one in poison))

    def test_some_fail_for_a_while_and_some_for_ever(self) -> None:
        params = [request.jobs[0]["params"] for request in self.requests if request.act == "submit"]
        self.assertTrue(any(one.get("fail_times", 0) >= 100 for one in params))
        self.assertTrue(any(0 < one.get("fail_times", 0) < 5 for one in params))

    def test_what_is_cancelled_has_no_twin_and_no_repetition(self) -> None:
        cancelled = {request.of for request in self.requests if request.act == "cancel"}
        others = {request.of for request in self.requests if request.act in ("twin", "again", "conflict")}
        self.assertTrue(cancelled and others)
        self.assertFalse(cancelled & others)

    def test_a_twin_is_equal_under_another_key_and_a_repetition_under_the_same(self) -> None:
        for request in self.requests:
            if request.act in ("twin", "again"):
                origin = self.requests[request.of]
                self.assertEqual(request.jobs, origin.jobs)
                self.assertEqual(request.key == origin.key, request.act == "again")
            if request.act == "twin":
                self.assertFalse(self.requests[request.of].jobs[0]["force"])

    def test_a_conflict_has_the_key_and_another_body(self) -> None:
        conflicts = [request for request in self.requests if request.act == "conflict"]
        for request in conflicts:
            self.assertEqual(request.key, self.requests[request.of].key)
            self.assertNotEqual(request.jobs, self.requests[request.of].jobs)
        self.assertTrue(conflicts)

    def test_a_bulk_holds_two_equal_jobs(self) -> None:
        bulk = next(request for request in self.requests if request.act == "bulk")
        self.assertEqual(bulk.jobs[0], bulk.jobs[-1])
        self.assertFalse(bulk.jobs[0]["force"])


class Answers(unittest.TestCase):
    def sender(self, *answers: tuple[int, bytes]) -> Client:
        left = list(answers)

        class Scripted(Target):
            def send(self, *_: object, **__: object) -> tuple[int, str, bytes]:
                status, body = left.pop(0)
                return status, "", body

        requests = [
            Request(0, "submit", jobs=[job()], key="k"),
            Request(1, "cancel", 0),
            Request(2, "bulk", jobs=[job(), job()], key="b"),
        ]
        return Client(Scripted("", 0, {}), requests, rate=50.0)

    def test_ids_are_read_from_one_job_and_from_a_bulk(self) -> None:
        self.assertEqual(ids_of(202, b'{"id": "a"}'), ("a",))
        self.assertEqual(ids_of(202, b'{"jobs": [{"id": "a"}, {"id": "b"}]}'), ("a", "b"))
        self.assertEqual(ids_of(409, b'{"id": "a"}'), ())

    def test_a_refusal_that_turns_out_untrue_is_noted(self) -> None:
        made = self.sender((429, b""), (200, b'{"id": "a"}'))
        made.send(0)
        made.send(0)
        self.assertTrue(made.told[0].is_untrue)

    def test_an_answer_that_left_it_open_may_turn_out_either_way(self) -> None:
        for unknown in ((0, b""), (503, b"whether it was accepted is unknown")):
            made = self.sender(unknown, (429, b""), (200, b'{"id": "a"}'))
            for _ in range(3):
                made.send(0)
            self.assertFalse(made.told[0].is_untrue)

    def test_what_refers_to_a_job_without_an_id_is_not_sent(self) -> None:
        made = self.sender((202, b'{"id": "a"}'), (200, b"{}"))
        self.assertEqual(made.send(1).status, client.NOT_SENT)
        made.send(0)
        self.assertEqual(made.send(1).status, 200)

    def test_a_bulk_counts_by_its_first_id(self) -> None:
        made = self.sender((202, b'{"jobs": [{"id": "a"}, {"id": "b"}]}'))
        self.assertEqual(made.send(2).job_id, "a")
        self.assertEqual(made.told[2].ids, [("a", "b")])


class Judges(unittest.TestCase):
    def test_one_finished_job_for_one_request_holds(self) -> None:
        self.assertEqual(broken(one(row("a"))), [])

    def test_each_wrong_end_breaks_the_promise_that_is_meant(self) -> None:
        loss, effect, failure, cancel, accept, identity, invariant, story = (name for name, _ in judging.JUDGES)
        wrong = (
            (row("a", "-", 0), [loss]),
            (row("a", "QUEUED", 0), [loss]),
            (row("a", "RUNNING", 1), [loss, effect]),
            (row("a", "SUCCEEDED", 0), [loss]),
            (row("a", "FAILED", 0), [loss, failure]),
            (row("a", "FAILED", 0, reason="permanent"), [failure]),
            (row("a", effects=2), [effect]),
            (row("a", "CANCELLED", 0), [cancel]),
            (row("a", "FAILED", 1, reason="worker_lost"), [effect, failure]),
        )
        for bad, promises in wrong:
            with self.subTest(row=bad):
                self.assertEqual(broken(one(bad)), promises)
        self.assertEqual(broken(one(row("a"), row("b", told=False))), [accept])
        self.assertEqual(broken(replace(one(row("a"), row("b")), told={0: told("a", "b")})), [identity])
        self.assertEqual(broken(replace(one(row("a")), invariants={"effect_applied_twice": ["a"]})), [invariant])
        self.assertEqual(broken(replace(one(row("a")), history=["lease token: a finished with token 1"])), [story])

    def test_a_job_may_lose_its_worker_to_faults_that_can_take_one(self) -> None:
        takes = (
            deeds("freeze-worker", "worker-cpu"),
            deeds("restart-service", "worker-io"),
            deeds("oom-child", "worker-fast"),
            deeds("stop-postgres", "postgres"),
            deeds("row-locks"),
            deeds("rolling-restart", failure="worker-io did not start"),
        )
        for done in takes:
            self.assertEqual(broken(replace(one(worker_lost()), deeds=done)), [], done)
        self.assertLessEqual(judging._END_LEASES, set(KINDS))
        missed = (Deed(takes[0][0].step),)
        for done in ((), missed, deeds("flush-all"), deeds("kill-web", "web")):
            self.assertEqual(len(judging.failures(replace(one(worker_lost()), deeds=done))), 1, done)

    def test_a_job_that_lost_its_worker_lost_it_at_each_attempt(self) -> None:
        killed = deeds("kill-worker", "worker-fast")
        for right in (worker_lost(), worker_lost(executions=7), worker_lost(rescues=2, retries=2)):
            self.assertEqual(broken(replace(one(right), deeds=killed)), [], right)
        for wrong in (
            worker_lost(executions=1, rescues=0),
            worker_lost(rescues=3),
            worker_lost(executions=4),
            worker_lost(rescues=2, retries=1),
        ):
            self.assertEqual(len(judging.failures(replace(one(wrong), deeds=killed))), 1, wrong)

    def test_a_replay_may_fail_as_its_first_job_may(self) -> None:
        first = row("a", "FAILED", 0, reason="attempts_exhausted")
        replay = row("b", "FAILED", 0, reason="attempts_exhausted", told=False, origin="replay", root="a")
        self.assertEqual(broken(one(first, replay, fail_times=100)), [])
        self.assertEqual(len(judging.failures(one(row("a"), replay))), 1)

    def test_what_was_asked_to_kill_its_worker_may_fail(self) -> None:
        self.assertEqual(broken(one(worker_lost(), crash=True)), [])
        self.assertEqual(broken(one(row("a", "FAILED", 0, reason="attempts_exhausted"), fail_times=100)), [])

    def test_the_tick_of_a_schedule_has_to_end_though_nobody_was_told_of_it(self) -> None:
        tick = row("b", told=False, origin="tick")
        self.assertEqual(broken(one(row("a"), tick)), [])
        self.assertEqual(judging.tally(one(row("a"), tick))["ticks"], 1)
        self.assertEqual(broken(one(row("a"), tick._replace(state="QUEUED", effects=0))), ["no accepted job is lost"])

    def test_a_request_without_an_id_at_the_end_is_broken(self) -> None:
        self.assertTrue(judging.acceptance(replace(one(), told={})))
        self.assertTrue(judging.acceptance(replace(one(), told={0: Told([("a",)], [429, 200], is_untrue=True)})))

    def test_a_confirmed_cancel_has_to_hold(self) -> None:
        requests = [Request(0, "submit", jobs=[job()], key="k"), Request(1, "cancel", 0)]
        for status, state, expected in ((200, "CANCELLED", 0), (200, "SUCCEEDED", 1), (409, "SUCCEEDED", 0)):
            account = {0: told("a"), 1: Told([], [status])}
            effects = 1 if state == "SUCCEEDED" else 0
            found = evidence(requests, account, row("a", state, effects))
            self.assertEqual(len(judging.cancellations(found)), expected)

    def test_equal_requests_have_one_id_unless_the_first_failed(self) -> None:
        requests = [Request(0, "submit", jobs=[job()], key="k"), Request(1, "twin", 0, [job()], "other")]
        account = {0: told("a"), 1: told("b")}
        self.assertTrue(judging.identities(evidence(requests, account, row("a"), row("b"))))
        self.assertEqual(judging.identities(evidence(requests, {0: told("a"), 1: told("a")}, row("a"))), [])
        dead = row("a", "FAILED", 0, reason="worker_lost")
        self.assertEqual(judging.identities(evidence(requests, account, dead, row("b"))), [])

    def test_another_body_under_a_used_key_has_to_be_a_conflict(self) -> None:
        requests = [Request(0, "submit", jobs=[job()], key="k"), Request(1, "conflict", 0, [job()], "k")]
        for status, expected in ((409, 0), (503, 0), (0, 0), (202, 1), (200, 1)):
            found = evidence(requests, {0: told("a"), 1: Told([], [status])}, row("a"))
            self.assertEqual(len(judging.identities(found)), expected, status)

    def test_equal_jobs_of_one_bulk_share_an_id(self) -> None:
        requests = [Request(0, "bulk", jobs=[job(), job()], key="k")]
        self.assertEqual(judging.identities(evidence(requests, {0: Told([("a", "a")], [202])})), [])
        self.assertTrue(judging.identities(evidence(requests, {0: Told([("a", "b")], [202])})))

    def test_counts_of_a_run(self) -> None:
        found = one(row("a", effects=2, executions=3), row("b", "-", 0))
        counts = judging.tally(found)
        self.assertEqual((counts["accepted"], counts["lost"], counts["duplicate_effects"]), (1, 1, 1))
        self.assertEqual((counts["executions"], counts["extra_executions"]), (4, 2))

    def test_what_was_seen_on_the_way(self) -> None:
        seen = one(row("a", executions=2, rescues=1, hints=3)).sometimes()
        self.assertEqual((seen["reclaim"], seen["re-dispatch"], seen["poison to dead letters"]), (1, 1, 0))

    def test_what_the_calm_load_does_by_itself_was_not_seen(self) -> None:
        loads: tuple[dict[str, object], ...] = ({"crash": True}, {"fail_times": 2})
        for params in loads:
            seen = one(worker_lost(hints=9), **params).sometimes()
            self.assertEqual((seen["reclaim"], seen["re-dispatch"]), (0, 0))
            self.assertEqual(seen["poison to dead letters"], int("crash" in params))
        cancelled = row("a", "CANCELLED", 0, executions=0, hints=1)
        for explained in (row("a", executions=2, hints=2), cancelled):
            self.assertEqual(one(explained).sometimes()["re-dispatch"], 0)

    def test_a_refusal_that_is_no_duplicate_is_not_seen_as_one(self) -> None:
        for series, grown, seen in (
            ('jobs_claims_total{result="duplicate"}', 3.0, 3),
            ('jobs_claims_total{result="terminal"}', 3.0, 0),
            ('bridge_entries_total{result="suppressed"}', 1.0, 0),
            ('bridge_entries_total{result="suppressed"}', 3.0, 2),
        ):
            found = one(row("a", "CANCELLED", 0))
            for value in (0.0, grown):
                found.sums.add("a container", {series: value})
            self.assertEqual(found.sometimes()["suppressed duplicate"], seen, series)

    def test_a_row_is_read_in_the_order_of_its_columns(self) -> None:
        read = Row.parse("a|t|FAILED|0|worker_lost|-|a|7|2|9|3|5")
        self.assertEqual(read, worker_lost(executions=7, rescues=2, hints=9, retries=3, most_attempts=5))


class Records(unittest.TestCase):
    def test_a_record_says_what_was_done_and_what_came_of_it(self) -> None:
        done = Deed(Step(1.0, "flush-all", "", 0.0, 1), "flush-all (redis-2)", 1.0, 1.1)
        missed = Deed(Step(2.0, "handover", "", 0.0, 1), began=2.0, failure="nobody takes over")
        found = replace(one(row("a", "QUEUED", 0)), deeds=(done, missed), recovery=math.inf)
        with redirect_stdout(io.StringIO()):
            verdict = Verdict("held", broken=["lost"])
        record = run.record_of(found, verdict, {"drain": 1.0})
        self.assertEqual((record["verdict"], record["broken"], record["lost"]), ("broken", ["lost"], 1))
        self.assertEqual(record["applied"], ["flush-all"])
        self.assertEqual(record["deeds"], ["flush-all (redis-2)", "handover: nobody takes over"])
        self.assertEqual(record["recovery_s"], -1.0)
        self.assertEqual(json.loads(json.dumps(record))["plan"]["seed"], PLAN.seed)


class Looks(unittest.TestCase):
    def test_what_was_true_for_a_moment_is_kept_and_a_silent_postgres_is_waited_for(self) -> None:
        silence = StackError("silent", fix="none")
        answers: list[list[Finding] | StackError] = [[Finding("a", 0, ())], [Finding("a", 1, ("x",))], silence, []]

        def look() -> list[Finding]:
            answer = answers.pop(0)
            if isinstance(answer, StackError):
                raise answer
            return answer

        live = LiveInvariants(look)
        live.look()
        live.look()
        with self.assertRaises(StackError):
            live.look()
        live.end()
        self.assertEqual(live.total(), {"a": ("x",)})
        self.assertEqual(live.looks, 3)

    def live(self, *answers: list[Finding] | Exception) -> LiveInvariants:
        """It has looked once for each answer, and then more, finding nothing."""
        left, is_done = list(answers), threading.Event()

        def look() -> list[Finding]:
            answer = left.pop(0) if left else []
            if not left:
                is_done.set()
            if isinstance(answer, Exception):
                raise answer
            return answer

        with mock.patch.object(invariants, "_PAUSE_SECONDS", 0.001):
            live = LiveInvariants(look)
            live.start()
            self.assertTrue(is_done.wait(5.0))
            live.end()
        return live

    def test_a_look_that_fails_by_itself_ends_none_and_is_told(self) -> None:
        live = self.live(ValueError("torn"), [Finding("a", 1, ("x",))], [])
        self.assertGreater(live.looks, 0)
        with self.assertRaisesRegex(StackError, "torn"):
            live.total()

    def test_too_few_looks_under_load_are_no_verdict(self) -> None:
        live = LiveInvariants(lambda: [])
        for _ in range(2):
            live.look()
            with self.assertRaisesRegex(StackError, "looked at"):
                live.require_looks()
        live.look()
        live.require_looks()

    def test_looks_each_second(self) -> None:
        self.assertEqual(invariants._PAUSE_SECONDS, 1.0)


class Recovery(unittest.TestCase):
    ENDS = {flow: [at / 10 for at in range(100) if not 30 < at < 60] for flow in ("fast", "io", "cpu")}

    def deed(self, *, taken_over: bool, healed: float = 5.0) -> Deed:
        return Deed(Step(3.0, "kill-web", "web", 2.0, 0), "", 3.0, healed, is_taken_over=taken_over)

    def test_counts_from_the_fault_or_from_its_healing(self) -> None:
        self.assertAlmostEqual(recovery_of([self.deed(taken_over=True)], self.ENDS, until=9.0) or 0.0, 3.0)
        self.assertAlmostEqual(recovery_of([self.deed(taken_over=False)], self.ENDS, until=9.0) or 0.0, 1.0)

    def test_the_thin_flow_of_cpu_counts_where_its_worker_was_hit(self) -> None:
        whole = [at / 10 for at in range(100)]
        ends = {"fast": whole, "io": whole, "cpu": self.ENDS["cpu"]}
        deed = self.deed(taken_over=True)
        self.assertEqual(recovery_of([deed], ends, until=9.0), 0.0)
        deed.step = replace(deed.step, target="worker-cpu")
        self.assertAlmostEqual(recovery_of([deed], ends, until=9.0) or 0.0, 3.0)

    def test_what_never_came_back_is_infinite(self) -> None:
        ends = {flow: times[:30] for flow, times in self.ENDS.items()}
        self.assertEqual(recovery_of([self.deed(taken_over=True)], ends, until=9.0), math.inf)

    def test_overlapping_faults_and_one_that_outlasted_the_load_have_none(self) -> None:
        deed = self.deed(taken_over=True)
        self.assertIsNone(recovery_of([deed, deed], self.ENDS, until=9.0))
        self.assertIsNone(recovery_of([self.deed(taken_over=True, healed=9.5)], self.ENDS, until=9.0))
        self.assertIsNone(recovery_of([Deed(deed.step)], self.ENDS, until=9.0))


class Counting(unittest.TestCase):
    def test_growth_is_summed_over_containers_and_restarts(self) -> None:
        sums = counters.Sums()
        for container, value in (("a", 5.0), ("b", 7.0), ("a", 8.0), ("a", 2.0), ("b", 7.0)):
            sums.add(container, {'jobs_claims_total{result="duplicate"}': value, "up": 1.0})
        self.assertEqual(sums.of("jobs_claims_total", result="duplicate"), 5.0)
        self.assertEqual(sums.of("jobs_claims_total", result="won"), 0.0)

    def test_reads_the_text_format(self) -> None:
        text = '# HELP a\na{b="c d"} 2.0\na_bucket{le="1"} 3\nplain 4e3\n'
        self.assertEqual(counters.parsed(text), {'a{b="c d"}': 2.0, "plain": 4000.0})


if __name__ == "__main__":
    unittest.main()
