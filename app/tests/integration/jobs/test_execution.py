"""One attempt from hint to outcome, and what a handler may not do."""

from collections.abc import Callable

import psycopg
import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobs import effects
from jobs.claim import claim
from jobs.context import Done, JobContext
from jobs.errors import Permanent, Poison, WriteRefused
from jobs.execution import active_ids, request_stop, run_job
from jobs.models import DeadLetter, Effect, Job, ProbeCount
from jobs.submission import submit
from metrics.catalogue import JOBS_STAGE_SECONDS
from postgres_deadline import read_only
from tests.integration.jobs.scenario import claimed, in_threads, move_back, script


def scripted(**options: object) -> Job:
    return Job.objects.get(id=submit("test.scripted", owner="ada", params={}, **options).job.id)  # type: ignore[arg-type]


def run(job: Job) -> str:
    return run_job(job.id, gen=1, leased_by="w1")


def fresh(job: Job) -> Job:
    return Job.objects.get(id=job.id)


def test_runs_a_job_to_its_result() -> None:
    job = scripted()
    script["run"] = lambda context: {"attempt": context.attempt, "active": context.id in active_ids()}
    assert run(job) == "succeeded"
    assert fresh(job).result == {"attempt": 1, "active": True}
    assert active_ids() == []
    assert run(job) == "terminal"


def test_each_stage_of_a_job_is_observed_once(pools: None) -> None:
    def counts() -> dict[str, float]:
        samples = [sample for metric in JOBS_STAGE_SECONDS.collect() for sample in metric.samples]
        return {sample.labels["stage"]: sample.value for sample in samples if sample.name.endswith("_count")}

    before = counts()
    job = scripted()
    script["run"] = lambda _: {}
    assert run(job) == "succeeded"
    stages = ("accept", "commit_to_dispatch", "dispatch_to_claim", "run", "finish")
    assert {stage: counts()[stage] - before.get(stage, 0) for stage in stages} == dict.fromkeys(stages, 1)


@pytest.mark.parametrize(("pool", "holds"), [("io", False), ("cpu", True)])
def test_attempts_in_threads_leave_connections_to_the_lease_keeper(pool: str, holds: bool) -> None:
    job = scripted()
    Job.objects.filter(id=job.id).update(pool=pool)

    def lent(_: JobContext) -> dict[str, object]:
        stats = connection.pool.get_stats()
        return {"holds": stats["pool_size"] > stats["pool_available"]}

    script["run"] = lent
    assert run(job) == "succeeded"
    assert fresh(job).result == {"holds": holds}


def test_handler_that_raises_is_tried_again_up_to_its_ceiling() -> None:
    job = scripted()

    def burst(_: JobContext) -> Done:
        raise RuntimeError("upstream said no")

    script["run"] = burst
    outcomes = []
    for _ in range(3):
        outcomes.append(run(job))
        move_back(job, 60)
    assert outcomes == ["retried", "retried", "failed"]
    assert DeadLetter.objects.get().reason == "attempts_exhausted"
    assert fresh(job).error_class == "RuntimeError"


@pytest.mark.parametrize(("error", "reason"), [(Permanent("x"), "permanent"), (Poison("x"), "poison")])
def test_error_classes_decide(error: Exception, reason: str) -> None:
    job = scripted()

    def burst(_: JobContext) -> Done:
        raise error

    script["run"] = burst
    assert run(job) == "failed"
    assert DeadLetter.objects.get().reason == reason


@pytest.mark.parametrize("number", [2, 3])
def test_probe_fails_as_often_as_asked_and_counts_once(number: int) -> None:
    submitted = submit("probe.fast", owner="ada", params={"fail_times": number - 1})
    job = Job.objects.get(id=submitted.job.id)
    outcomes = [run(job) for _ in range(number)]
    assert outcomes == ["retried"] * (number - 1) + ["succeeded"]
    assert ProbeCount.objects.get(job_id=job.id).n == 1


@pytest.mark.parametrize("kind", ["probe.fast", "probe.io", "probe.cpu"])
def test_probes_work_as_long_as_asked(kind: str) -> None:
    job = Job.objects.get(id=submit(kind, owner="ada", params={"work_ms": 30, "tag": "t"}).job.id)
    assert run(job) == "succeeded"
    assert fresh(job).result == {"work_ms": 30, "tag": "t", "attempt": 1}
    assert (fresh(job).finished_at - fresh(job).started_at).total_seconds() >= 0.03
    assert ProbeCount.objects.get(job_id=job.id).n == 1


def test_handler_cannot_write_outside_the_finish() -> None:
    job = scripted()

    def writes(context: JobContext) -> Done:
        assert Job.objects.filter(id=context.id).exists(), "reads are allowed"
        ProbeCount.objects.create(job_id=context.id, n=1)
        return Done()

    script["run"] = writes
    assert run(job) == "retried"
    assert fresh(job).error_class == "WriteRefused"
    assert "effects" in fresh(job).error_message
    assert ProbeCount.objects.count() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "WITH x AS (DELETE FROM probe_count RETURNING 1) SELECT * FROM x",
        "TRUNCATE probe_count",
        "  -- a comment\n UPDATE probe_count SET n = 2",
        "SELECT 1 INTO copied",
        "DO $$ BEGIN DELETE FROM probe_count; END $$",
        "SELECT nextval('job_event_id_seq')",
        "SELECT id FROM job FOR UPDATE",
        "COPY probe_count FROM STDIN",
        "EXPLAIN ANALYZE DELETE FROM probe_count",
    ],
)
def test_handler_cannot_write_in_disguise(statement: str) -> None:
    job = scripted()

    def writes(_: JobContext) -> Done:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        return Done()

    script["run"] = writes
    run(job)
    assert fresh(job).error_class == "WriteRefused"


def test_threads_of_a_handler_cannot_write_either() -> None:
    job = scripted()

    def writes(context: JobContext) -> Done:
        in_threads(lambda: ProbeCount.objects.create(job_id=context.id, n=1))
        return Done()

    script["run"] = writes
    assert run(job) == "retried"
    assert fresh(job).error_class == "WriteRefused"
    assert ProbeCount.objects.count() == 0


def test_handler_cannot_write_over_another_alias() -> None:
    job = scripted()
    connections.settings["other"] = connections.settings["default"]
    try:
        with connections["other"].cursor() as before:
            before.execute("SELECT 1")

        def writes(context: JobContext) -> Done:
            ProbeCount.objects.using("other").create(job_id=context.id, n=1)
            return Done()

        script["run"] = writes
        assert run(job) == "retried"
        assert fresh(job).error_class == "WriteRefused"
        with connections["other"].cursor() as after:
            after.execute("INSERT INTO probe_count (job_id, n) VALUES (gen_random_uuid(), 1)")
    finally:
        connections["other"].close()
        connections["other"].close_pool()
        del connections["other"]
        del connections.settings["other"]


def test_the_guard_costs_a_handler_without_queries_no_round_trip() -> None:
    job = scripted()
    held: list[object] = []

    def remember() -> None:
        held.append(connection.connection)

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    before = connection.connection
    script["run"] = lambda _: Done(effects=[remember])
    with CaptureQueriesContext(connection) as queries:
        assert run(job) == "succeeded"
    assert held == [before], "claim and finish share the connection, so nothing is checked or set in between"
    assert [query["sql"].split()[0] for query in queries] == ["WITH", "BEGIN", "WITH", "COMMIT"]


def test_attempt_that_lost_its_lease_ends_stale_and_applies_nothing() -> None:
    job = scripted()

    def slow(context: JobContext) -> Done:
        # Another worker takes over while this one is frozen; its own connection is not the handler's.
        _elsewhere(job)
        return Done(result={"late": True}, effects=[lambda: ProbeCount.objects.create(job_id=context.id, n=1)])

    script["run"] = slow
    assert run(job) == "stale"
    assert fresh(job).leased_by == "w2"
    assert ProbeCount.objects.count() == 0


def _elsewhere(job: Job) -> None:
    def take_over() -> None:
        with read_only.lifted():
            move_back(job, 60)
            claim(job.id, leased_by="w2")

    in_threads(take_over)


def test_stop_request_reaches_the_handler() -> None:
    job = scripted()

    def asked(context: JobContext) -> Done:
        request_stop([context.id])
        context.check_stopped()
        return Done()

    script["run"] = asked
    assert run(job) == "retried"
    assert fresh(job).error_class == "Stopped"


def test_attempt_past_its_limit_is_stopped(settings: Settings) -> None:
    job = scripted()

    def overdue(context: JobContext) -> Done:
        object.__setattr__(context, "deadline", 0.0)
        context.check_stopped()
        return Done()

    script["run"] = overdue
    assert run(job) == "retried"
    assert "limit" in fresh(job).error_message


def test_kind_that_is_gone_is_tried_again_before_it_is_dead_lettered() -> None:
    job = scripted()
    Job.objects.update(kind="test.gone")
    outcomes = []
    for _ in range(3):
        outcomes.append(run(job))
        move_back(job, 600)
    assert outcomes == ["retried", "retried", "failed"]
    assert DeadLetter.objects.get().reason == "unknown_kind"


def test_params_that_no_longer_fit_are_dead_lettered_with_that_reason() -> None:
    job = scripted()
    Job.objects.update(params={"number": "many"}, attempt=2)
    assert run(job) == "failed"
    assert DeadLetter.objects.get().reason == "invalid_params"


class _Silence:
    """Lets a statement through and then keeps its answer, as a server does that freezes at the wrong moment."""

    def __init__(self, *words: str) -> None:
        self._words = list(words)

    def __call__(self, execute: Callable[..., object], sql: str, *rest: object) -> object:
        answer = execute(sql, *rest)
        if self._words and self._words[0] in sql:
            self._words.pop(0)
            raise OperationalError("no answer") from psycopg.OperationalError("the deadline passed")
        return answer


def test_claim_that_postgres_did_not_answer_is_repeated_and_costs_no_attempt() -> None:
    job = scripted()
    script["run"] = lambda context: {"attempt": context.attempt}
    with connection.execute_wrapper(_Silence("'RUNNING'", "'RUNNING'", "'RUNNING'")):
        assert run(job) == "succeeded"
    assert fresh(job).result == {"attempt": 1}


def test_finish_that_postgres_did_not_answer_is_repeated_and_applied_once() -> None:
    job = scripted()
    script["run"] = lambda context: Done(effects=[lambda: ProbeCount.objects.create(job_id=context.id, n=1)])
    with connection.execute_wrapper(_Silence("'SUCCEEDED'")):
        assert run(job) == "succeeded", "the transaction was not committed: the second one is"
    assert ProbeCount.objects.get().n == 1
    assert (fresh(job).state, fresh(job).attempt) == ("SUCCEEDED", 1)


@pytest.mark.parametrize(
    ("word", "burst", "state"), [("'SUCCEEDED'", False, "SUCCEEDED"), ("'retried'", True, "QUEUED")]
)
def test_an_end_that_was_committed_and_not_answered_stands(word: str, burst: bool, state: str) -> None:
    job = scripted()

    def handler(_: JobContext) -> dict[str, object]:
        if burst:
            raise RuntimeError("upstream said no")
        return {"by": "us"}

    script["run"] = handler
    with connection.execute_wrapper(_Silence(word)):
        assert run(job) == "unknown"
    assert (fresh(job).state, fresh(job).attempt) == (state, 1)


def test_external_effect_keeps_its_key_over_attempts() -> None:
    job = scripted()
    keys: list[str] = []

    def calls(context: JobContext) -> Done:
        intent = effects.intend(context, "notify")
        keys.append(intent.key)
        if intent.is_done:
            return Done(result={"skipped": True})
        effects.confirm(context, "notify", {"status": 200})
        raise RuntimeError("crash after the call")

    script["run"] = calls
    assert run(job) == "retried"
    move_back(job, 60)
    assert run(job) == "succeeded"
    assert fresh(job).result == {"skipped": True}
    assert len(set(keys)) == 1
    assert Effect.objects.get().state == "done"


def test_effect_cannot_be_intended_inside_a_transaction() -> None:
    job = scripted()

    def calls(context: JobContext) -> Done:
        with transaction.atomic():
            effects.intend(context, "notify")
        return Done()

    script["run"] = calls
    run(job)
    assert fresh(job).error_class == WriteRefused.__name__


def test_file_keys_carry_the_token() -> None:
    job = scripted()
    lease = claimed(job)
    move_back(job, 60)
    keys: list[str] = []

    def names(context: JobContext) -> Done:
        keys.append(context.file_key("a.tif"))
        with pytest.raises(ValueError, match="plain name"):
            context.file_key("../a.tif")
        return Done()

    script["run"] = names
    run(job)
    assert keys == [f"jobs/{job.id}/{lease.lease_token + 1}/a.tif"]
