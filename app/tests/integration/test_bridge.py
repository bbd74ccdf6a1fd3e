"""The bridge on a real Redis and Postgres: what is published, what waits, and what survives."""

import json
import threading
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
import redis
from redis.exceptions import OutOfMemoryError

import redis_topology.clients
from bridge.bridge import POISON_DELIVERIES, Bridge, Round
from bridge.consumer_group import ConsumerGroup
from dispatch import Hint, Priority, messages
from jobs.cancellation import cancel
from jobs.models import DeadLetter, Job
from jobs.requests import JobRequest
from jobs.submission import submit_bulk
from metrics.catalogue import BRIDGE_DELETED_PENDING
from tests.servers.plugin import RedisFactory
from tests.servers.redis_server import RedisProcess

pytestmark = pytest.mark.django_db

STREAM, GROUP = "holdfast:jobs", "bridge"


def client_of(node: RedisProcess) -> redis.Redis:
    return redis_topology.clients.primary(redis_topology.parse(node.url), socket_timeout=3)


def consumer(
    client: redis.Redis, name: str = "bridge-1", *, batch_size: int = 100, claim_idle_ms: int = 5000
) -> ConsumerGroup:
    return ConsumerGroup(
        client, stream=STREAM, group=GROUP, consumer=name, batch_size=batch_size, claim_idle_ms=claim_idle_ms
    )


def bridge_of(group: ConsumerGroup) -> Bridge:
    return Bridge(group)


@pytest.fixture
def client(redis_server: RedisProcess) -> redis.Redis:
    return client_of(redis_server)


@pytest.fixture
def bridge(client: redis.Redis) -> Bridge:
    return bridge_of(consumer(client))


def open_jobs(count: int) -> list[UUID]:
    """Accepted and not hinted: the test's transaction never commits, so nothing is dispatched behind its back."""
    requests = [JobRequest("probe.fast", {"tag": str(number)}, force=True) for number in range(count)]
    return [submitted.job.id for submitted in submit_bulk(requests, owner="bridge-test")]


def make_job() -> UUID:
    return open_jobs(1)[0]


def hint_of(job_id: UUID, *, gen: int = 1, pool: str = "fast") -> Hint:
    return Hint(job_id, gen, "probe.fast", pool, Priority.NORMAL, "ab" * 32, "", int(time.time() * 1000))


def add(client: redis.Redis, hints: Sequence[Hint]) -> list[bytes]:
    return [client.xadd(STREAM, hint.to_fields()) for hint in hints]


def published(client: redis.Redis, pool: str = "fast") -> list[str]:
    """Task ids in the order in which a worker would take them."""
    found = [raw for name in messages.ready_lists(pool) for raw in reversed(client.lrange(name, 0, -1))]
    return [json.loads(raw)["headers"]["id"] for raw in found]


def pending(client: redis.Redis) -> int:
    return int(client.xpending(STREAM, GROUP)["pending"])


def run_until_empty(bridge: Bridge) -> Round:
    total = Round()
    for _ in range(100):
        done = bridge.run_once(block_ms=1)
        if done == Round():
            return total
        total = Round(
            *(getattr(total, name) + getattr(done, name) for name in ("published", "suppressed", "dead", "left"))
        )
    pytest.fail("the bridge did not come to an end within 100 rounds")


# -- the way of a hint ------------------------------------------------------------------------------------------------
def test_publishes_open_jobs_in_order_and_leaves_nothing_behind(bridge: Bridge, client: redis.Redis) -> None:
    jobs = open_jobs(250)
    bridge.run_once(block_ms=1)  # makes the group
    add(client, [hint_of(job) for job in jobs])
    assert run_until_empty(bridge).published == 250
    assert published(client) == [f"{job}-1" for job in jobs]
    assert client.xlen(STREAM) == 0
    assert pending(client) == 0


def test_entries_from_before_the_group_are_not_skipped(bridge: Bridge, client: redis.Redis) -> None:
    add(client, [hint_of(job) for job in open_jobs(3)])
    assert run_until_empty(bridge).published == 3


def test_drops_what_needs_no_work(bridge: Bridge, client: redis.Redis) -> None:
    done, job, unknown = make_job(), make_job(), uuid4()
    cancel(done, owner="bridge-test")
    add(client, [hint_of(done), hint_of(unknown), hint_of(job), hint_of(job, gen=2)])
    result = run_until_empty(bridge)
    assert (result.published, result.suppressed) == (1, 3)
    assert published(client) == [f"{job}-2"]
    assert client.xlen(STREAM) == 0


def test_an_unknown_version_waits_for_a_newer_reader(bridge: Bridge, client: redis.Redis) -> None:
    client.xadd(STREAM, {"v": "2", "whatever": "else"})
    add(client, [hint_of(make_job())])
    done = bridge.run_once(block_ms=1)
    done = bridge.run_once(block_ms=1) if done == Round() else done
    assert (done.published, done.left) == (1, 1)
    assert len(published(client)) == 1
    assert client.xlen(STREAM) == 1
    assert pending(client) == 1
    assert DeadLetter.objects.count() == 0


def test_waiting_for_a_newer_reader_never_makes_an_entry_poison(bridge: Bridge, client: redis.Redis) -> None:
    bridge.run_once(block_ms=1)  # makes the group
    client.xadd(STREAM, {"v": "2", "whatever": "else"})
    for _ in range(3):
        assert bridge.run_once(block_ms=1).left == 1
        [waiting] = client.xpending_range(STREAM, GROUP, min="-", max="+", count=10)
        assert waiting["times_delivered"] == 0
        bridge._group.reread_own_pending()


def test_an_entry_with_a_nul_is_dead_lettered_and_stops_nobody(bridge: Bridge, client: redis.Redis) -> None:
    client.xadd(STREAM, {"v": "1", "j": "a\0b"})
    assert run_until_empty(bridge).dead == 1
    assert DeadLetter.objects.get().payload == {"v": "1", "j": "a\ufffdb"}


@pytest.mark.parametrize(
    "fields", [{"nonsense": "x"}, {"v": "1", "j": "nope"}, hint_of(UUID(int=1)).to_fields() | {"p": "gpu"}]
)
def test_malformed_entries_are_dead_lettered_whole(bridge: Bridge, client: redis.Redis, fields: dict[str, str]) -> None:
    entry_id = client.xadd(STREAM, fields)
    assert run_until_empty(bridge).dead == 1
    letter = DeadLetter.objects.get()
    assert (letter.original_id, letter.reason, letter.payload) == (entry_id.decode(), "bridge_malformed", fields)
    assert client.xlen(STREAM) == 0


def test_an_entry_that_kills_the_bridge_again_and_again_is_dead_lettered(client: redis.Redis) -> None:
    add(client, [hint_of(make_job())])
    group = consumer(client)
    group.ensure()
    assert len(group.read(block_ms=1)) == 1
    for _ in range(POISON_DELIVERIES):
        client.xreadgroup(GROUP, "bridge-1", {STREAM: "0"})
    assert run_until_empty(bridge_of(group_anew(client))).dead == 1
    assert DeadLetter.objects.get().reason == "bridge_poison"


def group_anew(client: redis.Redis) -> ConsumerGroup:
    """A restarted bridge: the same name, nothing remembered."""
    return consumer(client)


# -- refusal ----------------------------------------------------------------------------------------------------------
def test_a_refused_batch_acknowledges_nothing(redis_factory: RedisFactory) -> None:
    node = redis_factory(maxmemory="4mb")
    client = client_of(node)
    group = consumer(client)
    bridge = bridge_of(group)
    bridge.run_once(block_ms=1)
    jobs = open_jobs(20)
    add(client, [hint_of(job) for job in jobs])
    fill(client)
    with pytest.raises(OutOfMemoryError):
        bridge.run_once(block_ms=1)
    assert published(client) == []
    assert pending(client) == 20
    assert client.xlen(STREAM) == 20
    with node.operator() as operator:
        operator.config_set("maxmemory", "200mb")
    assert run_until_empty(bridge).published == 20
    assert published(client) == [f"{job}-1" for job in jobs]


def fill(client: redis.Redis) -> None:
    def push_for_ever() -> None:
        while True:
            client.rpush("filler", "x" * 2000)

    with pytest.raises(OutOfMemoryError):
        push_for_ever()


# -- two bridges, restarts --------------------------------------------------------------------------------------------
def test_two_bridges_publish_each_job_once(client: redis.Redis, redis_server: RedisProcess) -> None:
    jobs = open_jobs(300)
    add(client, [hint_of(job) for job in jobs])
    bridges = [bridge_of(consumer(client_of(redis_server), f"bridge-{n}", batch_size=20)) for n in (1, 2)]
    results = [bridge.run_once(block_ms=1) for _ in range(20) for bridge in bridges]
    assert sum(done.published for done in results) == 300
    assert sorted(published(client)) == sorted(f"{job}-1" for job in jobs)
    assert all(sum(done.published for done in results[side::2]) > 0 for side in (0, 1))


def test_a_restarted_bridge_finishes_its_own_entries_first(client: redis.Redis) -> None:
    first, second = open_jobs(2)
    add(client, [hint_of(first)])
    died = consumer(client)
    died.ensure()
    assert len(died.read(block_ms=1)) == 1
    add(client, [hint_of(second)])
    assert run_until_empty(bridge_of(group_anew(client))).published == 2
    assert published(client) == [f"{first}-1", f"{second}-1"]


def test_stale_entries_of_a_dead_bridge_are_claimed_past_an_empty_scan(client: redis.Redis) -> None:
    jobs = open_jobs(30)
    ids = add(client, [hint_of(uuid4()) for _ in range(400)])
    ids += add(client, [hint_of(job) for job in jobs])
    dead = consumer(client, "bridge-9", batch_size=1000)
    dead.ensure()
    assert len(dead.read(block_ms=1)) == 430
    # All but the last were delivered just now: a scan looks at ten times COUNT entries, finds none and must go on.
    client.xclaim(STREAM, GROUP, "bridge-9", 0, ids[400:], idle=60_000)
    group = consumer(client, batch_size=10, claim_idle_ms=30_000)
    found: list[bytes] = []
    for _ in range(20):
        found += [entry.id for entry in group.read(block_ms=1)]
    assert found == ids[400:]


def test_entries_deleted_while_pending_are_counted_and_leave_the_pending_list(client: redis.Redis) -> None:
    ids = add(client, [hint_of(make_job()) for _ in range(5)])
    died = consumer(client)
    died.ensure()
    died.read(block_ms=1)
    client.xdel(STREAM, *ids[:2])
    before = deleted_pending()
    assert run_until_empty(bridge_of(group_anew(client))).published == 3
    assert deleted_pending() - before == 2
    assert pending(client) == 0


def deleted_pending() -> float:
    return float(BRIDGE_DELETED_PENDING._value.get())


# -- loss of the group ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", ["flush", "delete", "destroy"])
def test_a_lost_group_is_made_again_at_zero(
    bridge: Bridge, client: redis.Redis, redis_server: RedisProcess, loss: str
) -> None:
    add(client, [hint_of(make_job())])
    assert run_until_empty(bridge).published == 1
    if loss == "flush":
        redis_server.flush()
    elif loss == "delete":
        client.delete(STREAM)
    else:
        client.xgroup_destroy(STREAM, GROUP)
    client.delete("fast\x06\x163")
    job = make_job()
    add(client, [hint_of(job)])
    assert run_until_empty(bridge).published + run_until_empty(bridge).published == 1
    assert published(client) == [f"{job}-1"]


def test_a_reader_that_waits_while_the_stream_vanishes_goes_on(
    bridge: Bridge, client: redis.Redis, redis_server: RedisProcess
) -> None:
    bridge.run_once(block_ms=1)
    threading.Timer(0.2, redis_server.flush).start()
    assert bridge.run_once(block_ms=1500) == Round()
    add(client, [hint_of(make_job())])
    assert run_until_empty(bridge).published == 1


# -- consumers --------------------------------------------------------------------------------------------------------
def test_only_idle_and_empty_consumers_are_retired(client: redis.Redis) -> None:
    add(client, [hint_of(make_job())])
    holder = consumer(client, "bridge-holds")
    holder.ensure()
    assert len(holder.read(block_ms=1)) == 1
    assert consumer(client, "bridge-empty").read(block_ms=1) == []
    mine = consumer(client)
    assert mine.read(block_ms=1) == []
    time.sleep(0.05)
    assert mine.retire_idle_consumers(idle_ms=60_000) == []
    assert mine.retire_idle_consumers(idle_ms=20) == ["bridge-empty"]
    names = {item["name"] for item in client.xinfo_consumers(STREAM, GROUP)}
    assert names == {b"bridge-holds", b"bridge-1"}
    assert Job.objects.count() == 1
