"""Four ways in which an unmodified worker of Celery 5.7 on Sentinel stops for good when the primary goes, and one in
which it gathers sockets. Each test runs twice: with what kombu and Celery bring, where it has to fail, and with ours.
"""

import gc
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import pytest
import redis
from celery import Celery
from celery.worker.pidbox import Pidbox
from kombu import Connection, Producer, Queue
from kombu.asynchronous import Hub
from kombu.transport.redis import SentinelChannel
from pytest_django.fixtures import Settings

import redis_topology
from dispatch import testing as dispatch_testing
from redis_topology import watcher
from tests.integration.worker.conftest import Stack, await_finished, await_true, hint, submit
from tests.servers.sentinel import SentinelTopology
from tests.servers.worker import WorkerProcess
from worker import qos, transport

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

QUEUE = "defects"
#: What the watcher opens once and keeps: two connections to each Sentinel.
OF_THE_WATCHER = 6


def stock_and_ours(stock: object, ours: object, *, raises: type[BaseException]) -> pytest.MarkDecorator:
    """The stock one has to fail with `raises`: when it passes, upstream has mended it and ours can go."""
    broken = pytest.mark.xfail(strict=True, raises=raises, reason="the defect of upstream that ours mends")
    both = [pytest.param(stock, id="stock", marks=broken), pytest.param(ours, id="ours")]
    return pytest.mark.parametrize("kind", both)


# -- in this process --------------------------------------------------------------------------------------------------
@pytest.fixture
def app(sentinel: SentinelTopology) -> Iterator[Celery]:
    """A bare Celery app over the Sentinels."""
    watcher.stop()
    made = Celery("defects", set_as_current=False)
    made.conf.update(redis_topology.parse(sentinel.url).celery())
    yield made
    made.close()
    watcher.stop()


def take_one(connection: Connection) -> tuple[SentinelChannel, Any]:
    """A channel that may hold one message, and the message that it holds."""
    Producer(connection.channel()).publish({}, routing_key=QUEUE, declare=[Queue(QUEUE)])
    channel = connection.default_channel
    channel.basic_qos(0, 1, False)
    taken: list[Any] = []
    channel.basic_consume(QUEUE, no_ack=False, callback=taken.append, consumer_tag="defects")
    while not taken:
        connection.drain_events(timeout=60)
    return channel, taken[0]


@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")
@stock_and_ours(stock="celery.worker.consumer:Consumer", ours="worker.consumer:Consumer", raises=AttributeError)
def test_a_worker_survives_the_teardown_of_a_connection_that_holds_messages(
    app: Celery, sentinel: SentinelTopology, kind: str
) -> None:
    """The channel of remote control fails to close, so that of the tasks is closed twice: the second time it restores
    its messages over a transport without a client, and the error ends the process."""
    consumer: Any = app.WorkController(pool_cls="solo", hostname="defects@test", consumer_cls=kind).consumer
    consumer.connection = consumer.connect()
    channel, _held = take_one(consumer.connection)
    channel.basic_qos(0, 2, False)
    Pidbox(consumer).start(consumer)
    consumer.connection.transport.cycle.on_poll_start()  # the event loop's: both channels await an answer
    sentinel.primary.kill()
    consumer.on_connection_error_after_connected(redis.ConnectionError("Connection closed by server."))
    assert consumer.connection is None


@stock_and_ours(stock=False, ours=True, raises=AssertionError)
def test_credit_is_freed_when_redis_does_not_hear_the_acknowledgement(
    app: Celery, sentinel: SentinelTopology, kind: bool
) -> None:
    """A worker whose acknowledgements all fail has no credit left, and waits for ever over a healthy connection."""
    with app.connection_for_read() as connection:
        if kind:
            transport.use_for(connection)
        channel, message = take_one(connection)
        if kind:
            qos.connected(channel)
        assert not channel.qos.can_consume()
        old = sentinel.primary
        old.kill()
        message.ack_log_error(logging.getLogger(__name__), connection.connection_errors + connection.channel_errors)
        assert channel.qos.can_consume()
    qos.disconnected()
    sentinel.await_new_primary(old)
    with app.connection_for_read() as again:
        transport.use_for(again)
        qos.connected(again.default_channel)
        with sentinel.primary.client() as client:
            assert client.hlen("unacked") == 0
    qos.disconnected()


@stock_and_ours(stock="celery.worker.consumer:Consumer", ours="worker.consumer:Consumer", raises=AssertionError)
def test_a_connection_that_is_refused_while_the_loop_takes_it_leaves_no_socket(
    app: Celery, sentinel: SentinelTopology, kind: str
) -> None:
    """A primary that waits for its replicas refuses the write that every new consumer begins with."""
    consumer: Any = app.WorkController(pool_cls="solo", hostname="defects@test", consumer_cls=kind).consumer
    consumer.hub = Hub()
    with sentinel.primary.operator() as client:
        client.config_set("min-replicas-to-write", len(sentinel.replicas) + 1)
        before = sockets()
        gc.disable()
        try:
            for _ in range(10):
                with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
                    consumer.connect()
            assert sockets() <= before + OF_THE_WATCHER
        finally:
            gc.enable()
            client.config_set("min-replicas-to-write", 1)


def sockets() -> int:
    return len(psutil.Process().net_connections("tcp"))


# -- whole workers ----------------------------------------------------------------------------------------------------
class StockRetry(WorkerProcess):
    """An answer that is an error of Redis ends it, as by default."""

    def program(self) -> Sequence[str]:
        return patched("import project.celery; project.celery.app.conf.broker_channel_error_retry = False")


class StockTransport(WorkerProcess):
    """kombu's own connections with their own time-outs; nobody wakes them."""

    def program(self) -> Sequence[str]:
        ours = "('socket_timeout', 'socket_connect_timeout', 'health_check_interval')"
        stock = f"[project.celery.app.conf.broker_transport_options.pop(name) for name in {ours}]"
        return patched(f"import worker.transport; worker.transport.use_for = lambda connection: None; {stock}")


def patched(statement: str) -> Sequence[str]:
    setup = "import project.celery, django; django.setup()"
    return (sys.executable, "-c", f"{setup}; {statement}; from celery.__main__ import main; main()")


@pytest.fixture
def on_sentinel(stack: Stack, sentinel: SentinelTopology, settings: Settings) -> Stack:
    stack.environment |= {"REDIS_URL": sentinel.url, "REDIS_PASSWORD": ""}
    settings.REDIS_TOPOLOGY = redis_topology.parse(sentinel.url)
    dispatch_testing.reset()
    return stack


@stock_and_ours(StockRetry, WorkerProcess, raises=AssertionError)
def test_a_primary_that_refuses_writes_ends_no_worker(
    on_sentinel: Stack, sentinel: SentinelTopology, kind: type[WorkerProcess]
) -> None:
    """A primary without replicas answers NOREPLICAS, as each does for a moment after it was elected."""
    worker = on_sentinel.worker("fast", concurrency=2, kind=kind)
    for replica in sentinel.replicas:
        replica.kill()

    def was_refused() -> bool:
        return not worker.running or "(server:ResponseError)" in worker.log_tail(400)

    await_true(was_refused, "no pop of the worker was refused")
    sentinel.heal()
    jobs = submit(3)
    dispatch_testing.reset()
    hint(jobs)
    await_finished(jobs, seconds=40)
    assert worker.running
    assert "Frequent restarts" not in worker.log_tail(1000)  # for which Celery sleeps


@stock_and_ours(StockTransport, WorkerProcess, raises=AssertionError)
def test_a_worker_that_waits_follows_from_a_frozen_primary(
    on_sentinel: Stack, sentinel: SentinelTopology, kind: type[WorkerProcess]
) -> None:
    """Nothing is sent on a connection that waits, so nothing but the Sentinels' word tells that it is dead."""
    on_sentinel.worker("fast", concurrency=2, kind=kind)
    first = submit(2)
    hint(first)
    await_finished(first)
    with sentinel.primary.client() as client:
        await_true(lambda: not client.hlen("unacked"), "the worker has nothing left to acknowledge")
    old = sentinel.primary
    old.freeze()
    sentinel.await_new_primary(old)
    jobs = submit(6)
    dispatch_testing.reset()
    hint(jobs)
    await_finished(jobs, seconds=40)
