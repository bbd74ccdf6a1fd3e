"""Handing hints to a real broker: what is written, what a fault costs, and that the breaker closes by itself."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from pytest_django.fixtures import Settings

import dispatch
import redis_topology
from dispatch import DispatchRefused, Hint, Priority, Reason, dispatcher, messages
from dispatch import testing as dispatch_testing
from tests.servers.plugin import RedisFactory
from tests.servers.redis_server import RedisProcess
from tests.servers.sentinel import SentinelTopology
from tests.servers.waiting import wait_until

#: Seconds that a dispatch may take in tests; far more than in production, so that a busy machine is no fault of Redis.
BUDGET_SECONDS = 2.0
#: Seconds that a dispatch may take on a loaded machine while Redis is away; two budgets would be 4.
WORST_DISPATCH_SECONDS = 3.8
#: Seconds below which a dispatch has not waited for Redis.
AT_ONCE_SECONDS = 1.5


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    dispatch_testing.reset()
    yield
    dispatch_testing.reset()


def hint(pool: str = "fast", priority: Priority = Priority.NORMAL) -> Hint:
    return Hint(uuid4(), 1, "probe.fast", pool, priority, "ab" * 32, "", int(time.time() * 1000))


def use(changed: Settings, **changes: object) -> None:
    changed.HOLDFAST = changed.HOLDFAST.model_copy(update=changes)
    dispatch_testing.reset()


def timed(call: Callable[[], bool]) -> tuple[bool, float]:
    started = time.monotonic()
    return call(), time.monotonic() - started


# -- what is written --------------------------------------------------------------------------------------------------
def test_celery_mode_fills_the_list_of_pool_and_priority(redis_server: RedisProcess) -> None:
    assert dispatch.try_dispatch([hint("cpu", Priority.LOW), hint("cpu", Priority.HIGH), hint("io")])
    with redis_server.client() as client:
        assert [client.llen(name) for name in messages.ready_lists("cpu")] == [1, 0, 1]
        assert [client.llen(name) for name in messages.ready_lists("io")] == [0, 1, 0]


def test_stream_mode_adds_entries_that_read_back(redis_server: RedisProcess, settings: Settings) -> None:
    use(settings, ndvi_queue_backend="stream")
    sent = [hint(), hint("io", Priority.HIGH)]
    assert dispatch.try_dispatch(sent)
    with redis_server.client() as client:
        entries = client.xrange(settings.HOLDFAST.ndvi_stream_name)
    fields = [{name.encode(): value.encode() for name, value in entry.items()} for _, entry in entries]
    assert [Hint.from_fields(entry) for entry in fields] == sent


def test_stream_mode_refuses_at_its_cap_and_deletes_nothing(redis_server: RedisProcess, settings: Settings) -> None:
    use(settings, ndvi_queue_backend="stream", ndvi_stream_maxlen=100)
    assert dispatch.try_dispatch([hint() for _ in range(150)])
    with pytest.raises(DispatchRefused) as refused:
        dispatch.get_dispatcher().dispatch([hint()], budget_seconds=20)
    assert refused.value.reason is Reason.STREAM_FULL
    assert not dispatch.try_dispatch([hint()])
    assert not dispatch.breaker_is_open()
    with redis_server.client() as client:
        assert client.xlen(settings.HOLDFAST.ndvi_stream_name) == 150
        client.delete(settings.HOLDFAST.ndvi_stream_name)
    wait_until(lambda: dispatch.try_dispatch([hint()]), "the dispatcher looked at the stream again")


def test_threads_that_dispatch_at_once_share_round_trips(redis_server: RedisProcess) -> None:
    assert dispatch.try_dispatch([hint()])
    with redis_server.operator() as client:
        before = client.info("stats")["total_commands_processed"]
        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(lambda _: dispatch.try_dispatch([hint()]), range(400)))
        commands = client.info("stats")["total_commands_processed"] - before
        assert client.llen("fast\x06\x163") == 401
    assert commands < 3 * 400 + 50


# -- depth and epoch --------------------------------------------------------------------------------------------------
def test_ready_depth_counts_lists_and_unread_entries_only(redis_server: RedisProcess, settings: Settings) -> None:
    dispatch.try_dispatch([hint(priority=priority) for priority in Priority])
    use(settings, ndvi_queue_backend="stream")
    dispatch.try_dispatch([hint() for _ in range(5)])
    assert dispatch.ready_depth("fast", budget_seconds=20) == 3 + 5
    stream, group = settings.HOLDFAST.ndvi_stream_name, settings.HOLDFAST.ndvi_stream_group
    with redis_server.client() as client:
        client.xgroup_create(stream, group, id="0")
        client.xreadgroup(group, "bridge-1", {stream: ">"}, count=2)
        client.hset("unacked", "tag", "message")
    assert dispatch.ready_depth("fast", budget_seconds=20) == 3 + 3
    assert dispatch.ready_depth("io", budget_seconds=20) == 3


def test_epoch_stays_until_redis_loses_its_data(redis_server: RedisProcess) -> None:
    first = dispatch.broker_epoch(budget_seconds=20)
    assert first is not None
    assert dispatch.broker_epoch(budget_seconds=20) == first
    with redis_server.client() as client:
        assert client.ttl(dispatcher.EPOCH_KEY) == -1
    redis_server.flush()
    second = dispatch.broker_epoch(budget_seconds=20)
    assert second is not None
    assert second.split(":")[0] != first.split(":")[0]
    assert len(second) < 64


def test_epoch_changes_with_a_failover(sentinel: SentinelTopology, settings: Settings) -> None:
    use_topology(settings, sentinel.url)
    first = dispatch.broker_epoch(budget_seconds=20)
    assert first is not None
    sentinel.primary.kill()
    wait_until(
        lambda: dispatch.broker_epoch() not in (None, first), "the new primary answered with another epoch", seconds=120
    )


# -- faults -----------------------------------------------------------------------------------------------------------
def use_topology(changed: Settings, url: str) -> None:
    changed.REDIS_TOPOLOGY = redis_topology.parse(url)
    dispatch_testing.reset()


def assert_costs_one_budget(calls: int = 30) -> None:
    taken, first = timed(lambda: dispatch.try_dispatch([hint()]))
    assert not taken
    assert first < WORST_DISPATCH_SECONDS
    assert dispatch.breaker_is_open()
    later = [timed(lambda: dispatch.try_dispatch([hint()])) for _ in range(calls)]
    assert not any(taken for taken, _ in later)
    assert max(seconds for _, seconds in later) < AT_ONCE_SECONDS


def test_a_dead_redis_costs_one_budget_and_is_taken_up_again(redis_server: RedisProcess) -> None:
    redis_server.kill()
    assert_costs_one_budget()
    redis_server.start()
    wait_until(lambda: dispatch.try_dispatch([hint()]), "the breaker closed")


@pytest.mark.parametrize("warm", [True, False], ids=["connected before", "never connected"])
def test_a_frozen_redis_costs_one_budget(redis_server: RedisProcess, warm: bool) -> None:
    if warm:
        assert dispatch.try_dispatch([hint()])
    redis_server.freeze()
    try:
        assert_costs_one_budget()
    finally:
        redis_server.thaw()
    wait_until(lambda: dispatch.try_dispatch([hint()]), "the breaker closed after the thaw")


@pytest.mark.parametrize("warm", [True, False], ids=["connected before", "never connected"])
def test_everything_frozen_costs_one_budget(sentinel: SentinelTopology, settings: Settings, warm: bool) -> None:
    use_topology(settings, sentinel.url)
    if warm:
        assert dispatch.try_dispatch([hint()])
    frozen = [*sentinel.nodes, *sentinel.sentinels]
    for server in frozen:
        server.freeze()
    try:
        assert_costs_one_budget()
    finally:
        for server in frozen:
            server.thaw()


def test_sixteen_threads_at_a_frozen_redis_wait_one_budget(redis_server: RedisProcess) -> None:
    assert dispatch.try_dispatch([hint()])
    redis_server.freeze()
    try:
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: timed(lambda: dispatch.try_dispatch([hint()])), range(200)))
    finally:
        redis_server.thaw()
    assert not any(taken for taken, _ in answers)
    assert max(seconds for _, seconds in answers) < WORST_DISPATCH_SECONDS
    assert sum(seconds > AT_ONCE_SECONDS for _, seconds in answers) <= 16


def test_a_full_redis_refuses_the_whole_batch(redis_factory: RedisFactory, settings: Settings) -> None:
    node = redis_factory()
    use_topology(settings, node.url)
    with node.operator() as client:
        client.config_set("maxmemory", "1kb")  # less than it uses
        assert not dispatch.try_dispatch([hint() for _ in range(50)])
        assert client.llen("fast\x06\x163") == 0
        with pytest.raises(DispatchRefused) as refused:
            dispatch.get_dispatcher().dispatch([hint()], budget_seconds=20)
        assert refused.value.reason is Reason.MEMORY
        client.config_set("maxmemory", "200mb")
    wait_until(lambda: dispatch.try_dispatch([hint()]), "the breaker closed once there was room")


def test_ensure_dispatched_waits_out_an_outage(redis_server: RedisProcess) -> None:
    redis_server.kill()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(dispatch.ensure_dispatched, [hint()], timeout_seconds=120)
        wait_until(dispatch.breaker_is_open, "the outage was noticed")
        redis_server.start()
        waiting.result(timeout=120)
    with redis_server.client() as client:
        assert client.llen("fast\x06\x163") == 1


def test_ensure_dispatched_gives_up_at_its_deadline(redis_server: RedisProcess) -> None:
    redis_server.kill()
    started = time.monotonic()
    with pytest.raises(DispatchRefused):  # without a deadline it would wait for ever
        dispatch.ensure_dispatched([hint()], timeout_seconds=0.6)
    assert time.monotonic() - started > 0.5


# -- forks ------------------------------------------------------------------------------------------------------------
def in_a_child(check: Callable[[], bool]) -> bool:
    """Forks, runs `check` in the child and says whether it was true there."""
    pid = os.fork()
    if pid == 0:
        verdict = 1
        try:
            verdict = 0 if check() else 1
        finally:
            os._exit(verdict)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_an_open_breaker_closes_in_a_forked_child(redis_server: RedisProcess) -> None:
    redis_server.kill()
    assert not dispatch.try_dispatch([hint()])
    redis_server.start()
    breaker = dispatcher._this_process().breaker
    breaker._probe_interval = 60  # the parent's thread sleeps: only the child's own can close the child's
    assert dispatch.breaker_is_open()

    def closes() -> bool:
        dispatcher._this_process().breaker._probe_interval = 0.05
        was_open = dispatch.breaker_is_open()
        closed = dispatcher._this_process().breaker.wait_closed(60)
        return was_open and closed and dispatch.try_dispatch([hint()])

    if not dispatch.breaker_is_open():
        pytest.fail("the parent's breaker closed before the fork: the test shows nothing")
    assert in_a_child(closes)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(redis_server: RedisProcess) -> None:
    assert dispatch.try_dispatch([hint()])
    assert in_a_child(lambda: dispatch.try_dispatch([hint()], budget_seconds=20))
    assert dispatch.try_dispatch([hint()])
    with redis_server.client() as client:
        assert client.llen("fast\x06\x163") == 3


def test_the_fake_records_and_refuses() -> None:
    with dispatch_testing.recording() as recorder:
        given = hint()
        assert dispatch.try_dispatch([given])
        assert recorder.hints == [given]
        recorder.refuse_with = Reason.MEMORY
        assert not dispatch.try_dispatch([given])
        assert dispatch.breaker_is_open()
    assert not dispatch.breaker_is_open()
    assert isinstance(given.job_id, UUID)
