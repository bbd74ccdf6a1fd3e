"""Dead letters on their stream: whoever died, in both modes, from the table, by nobody but the sweeper."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError

from dispatch import Reason as Refusal
from dispatch.announcements import PAYLOAD_BYTES, STREAM_ENTRIES
from dispatch.testing import RecordingDispatcher
from jobs import announcing
from jobs.announcing import BATCH, announce_letters
from jobs.dead_letters import record_entry
from jobs.errors import Permanent, Poison
from jobs.finish import fail
from jobs.models import DeadLetter, Job
from jobs.states import Reason
from jobs.submission import submit
from jobs.sweeper import Sweeper
from tests.integration.jobs.scenario import claimed, move_back, submit_echo
from tests.servers.redis_server import RedisProcess
from tests.servers.waiting import wait_until

STREAM = "holdfast:jobs:dlq"


def announced(redis_server: RedisProcess) -> list[dict[str, Any]]:
    with redis_server.client() as client:
        return [fields for _, fields in client.xrange(STREAM)]


def fails_for_good(number: int) -> Job:
    job = submit_echo(number)
    fail(claimed(job), Permanent("no"))
    return job


def uses_up_its_attempts(number: int) -> Job:
    job = submit_echo(number)
    for _ in range(3):
        fail(claimed(job), RuntimeError("again"))
        move_back(job, 600)
    return job


def loses_its_worker(number: int) -> Job:
    job = submit_echo(number)
    for _ in range(3):
        claimed(job)
        move_back(job, 11)
    sweeper = Sweeper()
    sweeper._trusts_leases = lambda _pool: True  # type: ignore[method-assign]
    assert sweeper.tick().failed_lost == 1
    return job


@pytest.mark.parametrize(
    ("dies", "reason", "deliveries"),
    [
        (fails_for_good, "permanent", 1),
        (uses_up_its_attempts, "attempts_exhausted", 3),
        (loses_its_worker, "worker_lost", 3),
    ],
)
def test_every_dead_job_is_announced_once(
    redis_server: RedisProcess, dies: Callable[[int], Job], reason: str, deliveries: int
) -> None:
    job = dies(7)
    announce_letters()
    assert announce_letters() == 0
    [fields] = announced(redis_server)
    assert (fields["v"], fields["id"], fields["letter"]) == ("1", str(job.id), str(job.id))
    assert (fields["owner"], fields["kind"], fields["pool"]) == ("ada", "test.echo", "fast")
    assert (fields["reason"], fields["deliveries"]) == (reason, str(deliveries))
    assert '"number": 7' in fields["payload"]
    assert int(fields["accepted_ms"]) == round(job.accepted_at.timestamp() * 1000)
    assert int(fields["at_ms"]) >= int(fields["accepted_ms"])
    assert redis_server.denied() == []


def test_entry_without_a_job_is_announced_under_its_own_id(redis_server: RedisProcess) -> None:
    record_entry(entry_id="17-3", fields={"v": "x"}, reason="bridge_malformed", deliveries=2)
    assert announce_letters() == 1
    [fields] = announced(redis_server)
    assert (fields["id"], fields["reason"], fields["deliveries"]) == ("17-3", "bridge_malformed", "2")
    assert (fields["kind"], fields["accepted_ms"]) == ("", "0")


def test_the_sweeper_announces(redis_server: RedisProcess) -> None:
    fails_for_good(1)
    assert announced(redis_server) == [], "the end of an attempt speaks to Postgres alone"
    Sweeper().tick()
    assert len(announced(redis_server)) == 1


def test_payload_is_cut_at_its_limit_and_kept_whole_in_postgres(redis_server: RedisProcess) -> None:
    word = "ü" * 5000
    fail(claimed(Job.objects.get(id=submit("test.echo", owner="ada", params={"word": word}).job.id)), Poison("evil"))
    announce_letters()
    with redis_server.client() as client:
        client.connection_pool.connection_kwargs["decode_responses"] = False
        [(_, fields)] = client.xrange(STREAM)
    assert len(fields[b"payload"]) == PAYLOAD_BYTES
    assert DeadLetter.objects.get().payload["params"]["word"] == word


def test_refused_letters_wait_and_come_in_their_order(redis_server: RedisProcess) -> None:
    ids = [str(fails_for_good(number).id) for number in range(3)]
    with redis_server.client() as client:
        client.set(STREAM, "in the way")
        assert announce_letters() == 0
        assert DeadLetter.objects.filter(announced_at__isnull=True).count() == 3
        client.delete(STREAM)
    assert announce_letters() == 3
    assert [fields["letter"] for fields in announced(redis_server)] == ids


def test_open_breaker_is_not_asked(broker: RecordingDispatcher, pools: None, redis_server: RedisProcess) -> None:
    fails_for_good(1)
    redis_server.freeze()
    try:
        broker.refuse_with = Refusal.UNREACHABLE
        submit_echo(2)
        assert announce_letters() == 0
    finally:
        redis_server.thaw()
    assert announced(redis_server) == []
    wait_until(announce_letters, "the letter was not announced after the breaker closed")
    assert len(announced(redis_server)) == 1


def test_crash_before_the_mark_repeats_the_announcement(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_for_good(1)
    with monkeypatch.context() as patch:
        patch.setattr(announcing.sql, "MARK_ANNOUNCED", "SELECT 1/0 WHERE %(ids)s IS NOT NULL")
        with pytest.raises(Exception, match="division by zero"):
            announce_letters()
    assert announce_letters() == 1
    assert len({fields["letter"] for fields in announced(redis_server)}) == 1
    assert len(announced(redis_server)) == 2


def test_one_round_is_bounded() -> None:
    DeadLetter.objects.bulk_create(
        DeadLetter(reason=Reason.PERMANENT, original_id=str(number), payload={}) for number in range(BATCH + 5)
    )
    assert [announce_letters() for _ in range(3)] == [BATCH, 5, 0]


def test_stream_keeps_about_ten_thousand(redis_server: RedisProcess) -> None:
    with redis_server.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(STREAM_ENTRIES + 500):
            pipeline.xadd(STREAM, {"v": "1", "letter": str(number)})
        pipeline.execute()
        fails_for_good(1)
        announce_letters()
        assert STREAM_ENTRIES <= client.xlen(STREAM) <= STREAM_ENTRIES + 200


def test_the_database_takes_no_reason_off_the_list() -> None:
    with pytest.raises(IntegrityError, match="dead_letter_reason_known"):
        DeadLetter.objects.create(reason="bad_luck")
