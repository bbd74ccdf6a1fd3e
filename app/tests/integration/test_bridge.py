"""The bridge on a real Redis and Postgres: what is published, what waits, and what survives."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from uuid import UUID, uuid4

import pytest
import redis
from django.db import OperationalError
from redis.exceptions import ConnectionError, OutOfMemoryError

import redis_topology.clients
from bridge.bridge import POISON_DELIVERIES, Bridge, Round
from bridge.consumer_group import ConsumerGroup
from dispatch import Hint, Priority, messages
from jobs import selectors
from jobs.cancellation import cancel
from jobs.models import DeadLetter, Job
from jobs.requests import JobRequest
from jobs.submission import submit_bulk
from metrics.catalogue import BRIDGE_DELETED_PENDING
from tests.servers.plugin import RedisFactory
from tests.servers.redis_server import RedisProcess
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.django_db

COUNTS = [field.name for field in fields(Round)]
STREAM, GROUP = "holdfast:jobs", "bridge"


def client_of(node: RedisProcess) -> redis.Redis:
    return redis_topology.clients.primary(redis_topology.parse(node.url), socket_timeout=60, socket_connect_timeout=60)


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
    """<job id>-<gen> in the order in which a worker would take them."""
    return [name for message in published_messages(client, pool) for name in message]


def published_messages(client: redis.Redis, pool: str = "fast") -> list[list[str]]:
    """What each message names, in the order in which a worker would take them."""
    found = [raw for name in messages.ready_lists(pool) for raw in reversed(client.lrange(name, 0, -1))]
    return [[f"{job}-{gen}" for job, gen in messages.named_by(raw).items()] for raw in found]


def pending(client: redis.Redis) -> int:
    return int(client.xpending(STREAM, GROUP)["pending"])


def run_until_empty(bridge: Bridge) -> Round:
    total = Round()
    for _ in range(100):
        done = bridge.run_once(block_ms=1)
        if done == Round():
            return total
        total = Round(*(getattr(total, name) + getattr(done, name) for name in COUNTS))
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


def test_entries_of_one_read_share_messages(bridge: Bridge, client: redis.Redis) -> None:
    bridge.run_once(block_ms=1)  # makes the group
    jobs = open_jobs(100)
    Job.objects.filter(id=jobs[3]).update(attempt=1)
    add(client, [hint_of(job) for job in jobs])
    assert bridge.run_once(block_ms=1).published == 100
    found = published_messages(client)
    assert [f"{jobs[3]}-1"] in found, "a job that was tried before travels alone"
    assert max(len(names) for names in found) == 13, "99 over the 8 processes of the pool"
    assert len(found) == 9
    assert pending(client) == 0
    assert client.xlen(STREAM) == 0


def test_a_message_whose_entries_were_partly_ended_is_not_published_and_the_rest_goes_alone(
    bridge: Bridge, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge.run_once(block_ms=1)  # makes the group
    jobs = open_jobs(16)  # eight messages of two
    ids = add(client, [hint_of(job) for job in jobs])
    end = client.eval

    def overtaken(*arguments: object) -> object:
        monkeypatch.setattr(client, "eval", end)
        client.xack(STREAM, GROUP, ids[0], ids[4], ids[5])
        return end(*arguments)

    monkeypatch.setattr(client, "eval", overtaken)
    assert bridge.run_once(block_ms=1) == Round(published=13, overtaken=3)
    found = [name for names in published_messages(client) for name in names]
    assert sorted(found) == sorted(f"{job}-1" for place, job in enumerate(jobs) if place not in (0, 4, 5))
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
    assert bridge.run_once(block_ms=1).left == 1
    for _ in range(POISON_DELIVERIES + 2):
        assert bridge_of(group_anew(client)).run_once(block_ms=1).left == 1
        [waiting] = client.xpending_range(STREAM, GROUP, min="-", max="+", count=10)
        assert waiting["times_delivered"] == 0


def test_an_entry_with_a_nul_is_dead_lettered_and_stops_nobody(bridge: Bridge, client: redis.Redis) -> None:
    client.xadd(STREAM, {"v": "1", "j": "a\0b"})
    assert run_until_empty(bridge).dead == 1
    assert DeadLetter.objects.get().payload == {"v": "1", "j": "a\ufffdb"}


@pytest.mark.parametrize(
    "entry", [{"nonsense": "x"}, {"v": "1", "j": "nope"}, hint_of(UUID(int=1)).to_fields() | {"p": "gpu"}]
)
def test_malformed_entries_are_dead_lettered_whole(bridge: Bridge, client: redis.Redis, entry: dict[str, str]) -> None:
    entry_id = client.xadd(STREAM, entry)
    assert run_until_empty(bridge).dead == 1
    letter = DeadLetter.objects.get()
    assert (letter.original_id, letter.reason, letter.payload) == (entry_id.decode(), "bridge_malformed", entry)
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
    node = redis_factory()
    client = client_of(node)
    group = consumer(client)
    bridge = bridge_of(group)
    bridge.run_once(block_ms=1)
    jobs = open_jobs(20)
    add(client, [hint_of(job) for job in jobs])
    with node.operator() as operator:
        operator.config_set("maxmemory", "1kb")  # less than it uses
    with pytest.raises(OutOfMemoryError):
        bridge.run_once(block_ms=1)
    assert published(client) == []
    assert pending(client) == 20
    assert client.xlen(STREAM) == 20
    with node.operator() as operator:
        operator.config_set("maxmemory", "200mb")
    assert run_until_empty(bridge).published == 20
    assert published(client) == [f"{job}-1" for job in jobs]


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


# -- an entry ends once ------------------------------------------------------------------------------------------------
def test_a_bridge_that_was_overtaken_publishes_nothing_again(
    client: redis.Redis, redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(3)
    add(client, [hint_of(job) for job in jobs])
    add(client, [hint_of(UUID(int=1), pool="gpu")])
    stalled = bridge_of(consumer(client, "bridge-1"))
    with monkeypatch.context() as outage:
        outage.setattr(selectors, "dispatchable", raises(OperationalError("Postgres is away")))
        with pytest.raises(OperationalError):
            stalled.run_once(block_ms=1)
    time.sleep(0.15)  # what makes its entries stale
    other = bridge_of(consumer(client_of(redis_server), "bridge-2", claim_idle_ms=100))
    assert run_until_empty(other) == Round(published=3, dead=1)
    assert stalled.run_once(block_ms=1) == Round(overtaken=4)
    assert published(client) == [f"{job}-1" for job in jobs]
    assert DeadLetter.objects.count() == 1


def test_a_publication_whose_answer_was_lost_is_not_repeated(
    bridge: Bridge, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(3)
    add(client, [hint_of(job) for job in jobs])
    with monkeypatch.context() as cut:
        cut.setattr(client, "eval", answer_lost(client.eval))
        with pytest.raises(ConnectionError, match="lost"):
            run_until_empty(bridge)
    assert run_until_empty(bridge) == Round(overtaken=3)
    assert published(client) == [f"{job}-1" for job in jobs]


def test_entries_whose_delivery_was_lost_are_read_again_at_once(
    bridge: Bridge, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge.run_once(block_ms=1)
    jobs = open_jobs(3)
    add(client, [hint_of(job) for job in jobs])
    with monkeypatch.context() as cut:
        cut.setattr(client, "xreadgroup", answer_lost(client.xreadgroup))
        with pytest.raises(ConnectionError, match="lost"):
            bridge.run_once(block_ms=1)
    assert pending(client) == 3
    assert bridge.run_once(block_ms=1).published == 3


def raises(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


def answer_lost(call: Callable[..., object]) -> Callable[..., object]:
    """Redis does it, and the connection goes before the answer came."""

    def cut(*arguments: object, **options: object) -> object:
        call(*arguments, **options)
        raise ConnectionError("the answer was lost")

    return cut


def test_an_outage_of_postgres_brings_no_entry_nearer_to_poison(
    bridge: Bridge, client: redis.Redis, redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(3)
    add(client, [hint_of(job) for job in jobs])
    with monkeypatch.context() as outage:
        outage.setattr(selectors, "dispatchable", raises(OperationalError("Postgres is away")))
        for _ in range(POISON_DELIVERIES + 2):  # rounds of one bridge, and bridges that are stopped and started
            for _ in range(3):
                with pytest.raises(OperationalError):
                    bridge.run_once(block_ms=1)
            assert deliveries(client) == [1, 1, 1]
            bridge.hand_back()
            bridge = bridge_of(group_anew(client))
    assert run_until_empty(bridge) == Round(published=3)
    assert DeadLetter.objects.count() == 0


def deliveries(client: redis.Redis) -> list[int]:
    return [entry["times_delivered"] for entry in client.xpending_range(STREAM, GROUP, min="-", max="+", count=100)]


def test_what_a_stopping_bridge_hands_back_is_claimed_at_once(
    client: redis.Redis, redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(3)
    add(client, [hint_of(job) for job in jobs])
    stopping = bridge_of(consumer(client, "bridge-1", claim_idle_ms=60_000))
    with monkeypatch.context() as outage:
        outage.setattr(selectors, "dispatchable", raises(OperationalError("Postgres is away")))
        with pytest.raises(OperationalError):
            stopping.run_once(block_ms=1)
    stopping.hand_back()
    assert deliveries(client) == [0, 0, 0]
    other = bridge_of(consumer(client_of(redis_server), "bridge-2", claim_idle_ms=60_000))
    assert other.run_once(block_ms=1) == Round(published=3)


def test_a_newer_reader_takes_what_an_older_one_left_at_once(client: redis.Redis, redis_server: RedisProcess) -> None:
    entry_id = client.xadd(STREAM, {"v": "2", "whatever": "else"})
    assert run_once_with_entries(bridge_of(consumer(client, "bridge-old", claim_idle_ms=60_000))) == Round(left=1)
    newer = consumer(client_of(redis_server), "bridge-new", claim_idle_ms=60_000)
    assert [(entry.id, entry.deliveries) for entry in newer.read(block_ms=1)] == [(entry_id, 1)]


def run_once_with_entries(bridge: Bridge) -> Round:
    """The first round of a new stream only makes the group."""
    return next(done for done in (bridge.run_once(block_ms=1) for _ in range(2)) if done != Round())


def test_an_older_reader_does_not_spin_over_what_it_leaves(client: redis.Redis, redis_server: RedisProcess) -> None:
    bridge = bridge_of(consumer(client, claim_idle_ms=500))
    for _ in range(5):
        client.xadd(STREAM, {"v": "2", "whatever": "else"})
    assert run_once_with_entries(bridge).left == 5
    before = redis_server.operator().info("stats")["total_commands_processed"]
    until = time.monotonic() + 1.0
    rounds = [bridge.run_once(block_ms=50).left for _ in iter(lambda: time.monotonic() < until, False)]
    commands = redis_server.operator().info("stats")["total_commands_processed"] - before
    assert sum(rounds) <= 5 * 6, "each claim pass takes them once: every 200 to 300 ms"
    assert commands < 150


def test_deliveries_are_known_however_many_entries_of_others_lie_between(client: redis.Redis) -> None:
    ids = add(client, [hint_of(uuid4()) for _ in range(60)])
    group = consumer(client, batch_size=2)
    group.ensure()
    client.xreadgroup(GROUP, "bridge-9", {STREAM: ">"}, count=60)
    client.xclaim(STREAM, GROUP, "bridge-1", 0, [ids[0], ids[-1]], retrycount=7)
    assert [(entry.id, entry.deliveries) for entry in group.read(block_ms=1)] == [(ids[0], 8), (ids[-1], 8)]


def test_a_batch_in_hand_ends_with_its_group(
    bridge: Bridge, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(2)
    add(client, [hint_of(job) for job in jobs])
    with monkeypatch.context() as outage:
        outage.setattr(selectors, "dispatchable", raises(OperationalError("Postgres is away")))
        with pytest.raises(OperationalError):
            run_until_empty(bridge)
    client.xgroup_destroy(STREAM, GROUP)
    # Overtaken in the group that is gone, published from the new one.
    assert run_until_empty(bridge) == Round(published=2, overtaken=2)
    assert published(client) == [f"{job}-1" for job in jobs]


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

    def waits() -> bool:
        with redis_server.operator() as seen:
            return bool(seen.info("clients")["blocked_clients"])

    def flush_when_it_waits() -> None:
        wait_until(waits, "the bridge does not wait for entries")
        redis_server.flush()

    flusher = threading.Thread(target=flush_when_it_waits)
    flusher.start()
    while flusher.is_alive():
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
