"""The settings, against real Redis and Sentinel: what one REDIS_URL makes of Celery, its results, Django's cache and
redis-py, and that all of it stays inside what the ACL grants the application."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.backends.redis import SentinelBackend
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from kombu import Connection, Consumer, Queue
from kombu.exceptions import OperationalError
from kombu.transport.redis import SentinelTransport
from pytest_django import Settings

import redis_topology
from redis_topology import clients
from tests.celery_probe import configured
from tests.servers import acl
from tests.servers.sentinel import SentinelProcess, SentinelTopology
from tests.servers.waiting import wait_until

APP_ROOT = Path(__file__).resolve().parents[1]

#: What dead Sentinels may cost on a busy machine, in seconds: they cost 0.3 each. Without a bound of ours the system's
#: own is minutes, and a frozen one is waited for for ever.
BUDGET = 10.0

pytestmark = pytest.mark.usefixtures("fresh_clients")


@pytest.fixture
def topology(sentinel: SentinelTopology) -> redis_topology.Topology:
    return redis_topology.parse(sentinel.url)


@pytest.fixture
def celery_app(topology: redis_topology.Topology) -> Iterator[Celery]:
    app = configured(topology)
    yield app
    app.close()


@pytest.fixture
def cache(topology: redis_topology.Topology, settings: Settings) -> BaseCache:
    settings.CACHES = {"default": {"BACKEND": "project.cache.Cache", **topology.django_cache(key_prefix="holdfast")}}
    return caches["default"]


@pytest.fixture
def worker(sentinel: SentinelTopology) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker over the Sentinels, with the project's configuration."""
    environment = {**os.environ, "REDIS_URL": sentinel.url}
    environment.pop("REDIS_PASSWORD", None)
    command = (sys.executable, "-m", "celery", "-A", "tests.celery_probe", "worker", "-P", "threads", "-c", "2")
    flags = ("-Q", "fast", "--without-gossip", "--without-mingle", "-n", "probe@test")
    with subprocess.Popen((*command, *flags), cwd=APP_ROOT, env=environment) as process:
        app = configured(redis_topology.parse(sentinel.url))

        def answered_or_ended() -> bool:
            return bool(app.control.ping(timeout=2)) or process.poll() is not None

        wait_until(answered_or_ended, "the worker did not answer its first ping", seconds=180)
        assert process.poll() is None, "the worker ended while it started"
        app.close()
        yield process
        process.terminate()


def seconds(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def seconds_until_refused(action: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(redis.ConnectionError):
        action()
    return time.monotonic() - began


def everything_connects(topology: redis_topology.Topology, app: Celery, cache: BaseCache) -> dict[str, float]:
    """Seconds that a first use of each client takes, with discovery and connect."""

    def broker() -> None:
        with app.connection_for_write() as connection:
            connection.default_channel.client.ping()

    def client() -> None:
        with clients.primary(topology) as one:
            one.ping()

    def round_trip() -> None:
        cache.set("found", 1)
        assert cache.get("found") == 1

    return {
        "broker": seconds(broker),
        "results": seconds(lambda: app.backend.store_result("one", 1, "SUCCESS")),
        "cache": seconds(round_trip),
        "redis-py": seconds(client),
    }


def test_cache_makes_a_round_trip_through_sentinel(cache: BaseCache, sentinel: SentinelTopology) -> None:
    cache.set("field", {"mean": 0.5}, timeout=60)
    assert cache.get("field") == {"mean": 0.5}
    with sentinel.primary.client(db=1) as client:
        assert list(client.scan_iter("holdfast:*")) == ["holdfast:1:field"]
        assert 0 < client.ttl("holdfast:1:field") <= 60


def test_cache_reads_the_primary_only(cache: BaseCache, sentinel: SentinelTopology) -> None:
    cache.set("counted", 1)
    for node in sentinel.replicas:
        with node.operator() as client:
            client.config_resetstat()
    for _ in range(20):
        cache.get("counted")
    for node in sentinel.replicas:
        with node.operator() as client:
            assert "cmdstat_get" not in client.info("commandstats")


def test_broker_connects_through_sentinel_and_publishes(celery_app: Celery, sentinel: SentinelTopology) -> None:
    with celery_app.connection_for_write() as connection:
        assert isinstance(connection.transport, SentinelTransport)
        assert len(connection.alt) == 3
    celery_app.send_task("probe.add", args=(1, 2), queue="fast", priority=0)
    with sentinel.primary.client() as client:
        assert client.llen("fast") == 1


@pytest.mark.parametrize("fault", ["kill", "freeze"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_dead_sentinel_costs_no_more_than_its_time(
    topology: redis_topology.Topology,
    celery_app: Celery,
    cache: BaseCache,
    sentinel: SentinelTopology,
    fault: str,
    position: int,
) -> None:
    getattr(sentinel.sentinels[position], fault)()
    costs = everything_connects(topology, celery_app, cache)
    assert max(costs.values()) < BUDGET, costs


def test_two_dead_sentinels_leave_everything_reachable(
    topology: redis_topology.Topology, celery_app: Celery, cache: BaseCache, sentinel: SentinelTopology
) -> None:
    sentinel.sentinels[0].kill()
    sentinel.sentinels[1].freeze()
    costs = everything_connects(topology, celery_app, cache)
    assert max(costs.values()) < BUDGET, costs


def test_all_sentinels_frozen_is_an_error_in_bounded_time(
    topology: redis_topology.Topology, celery_app: Celery, cache: BaseCache, sentinel: SentinelTopology
) -> None:
    for one in sentinel.sentinels:
        one.freeze()
    with clients.primary(topology) as client:
        assert seconds_until_refused(client.ping) < BUDGET
    with celery_app.connection_for_write() as connection:
        assert seconds_until_refused(connection.connect) < BUDGET
    assert seconds(lambda: cache.get("anything")) < BUDGET


def test_wrong_redis_password_is_one_clear_error(sentinel: SentinelTopology) -> None:
    wrong = redis_topology.parse(sentinel.url.replace("redis+sentinel://app:", "redis+sentinel://app:not"))
    with clients.primary(wrong) as client, pytest.raises(redis.AuthenticationError, match="username-password"):
        client.ping()


def test_wrong_sentinel_password_is_one_clear_error(sentinel: SentinelTopology) -> None:
    wrong = redis_topology.parse(sentinel.url.replace("sentinel_password=", "sentinel_password=not"))
    with clients.primary(wrong) as client, pytest.raises(redis.AuthenticationError) as error:
        client.ping()
    sentence = str(error.value)
    assert "SENTINEL_PASSWORD" in sentence
    assert acl.PASSWORDS["app"] not in sentence


def test_wrong_password_reaches_a_publisher_as_an_error(sentinel: SentinelTopology) -> None:
    app = configured(redis_topology.parse(sentinel.url.replace("//app:", "//app:not")))
    with pytest.raises(OperationalError, match="username-password"):
        app.send_task("probe.add", args=(1, 2), queue="fast", ignore_result=True)
    app.close()


def test_clearing_the_cache_under_load_loses_no_hint(
    cache: BaseCache, celery_app: Celery, sentinel: SentinelTopology
) -> None:
    cache.set_many({f"key-{number}": "x" * 100 for number in range(5000)})
    stop = threading.Event()
    sent = 0

    def publish() -> None:
        nonlocal sent
        with celery_app.connection_for_write() as connection, celery_app.amqp.Producer(connection) as producer:
            while not stop.is_set():
                celery_app.send_task("probe.add", args=(sent, 1), queue="fast", producer=producer)
                sent += 1

    publisher = threading.Thread(target=publish)
    publisher.start()
    wait_until(lambda: sent > 50, "the publisher did not get going")
    removed = cache.clear()
    before_stop = sent
    wait_until(lambda: sent > before_stop + 50, "the publisher did not go on after the clear")
    stop.set()
    publisher.join()
    with sentinel.primary.client() as client:
        assert client.llen("fast") == sent
    with sentinel.primary.client(db=1) as client:
        assert client.dbsize() == 0
    assert removed == 5000


@pytest.mark.usefixtures("worker")
def test_result_backend_is_celerys_sentinel_one_returns_a_result_and_the_worker_answers_a_ping(
    celery_app: Celery, sentinel: SentinelTopology
) -> None:
    assert isinstance(celery_app.backend, SentinelBackend)
    assert celery_app.send_task("probe.add", args=(20, 22), queue="fast").get(timeout=120) == 42
    wait_until(lambda: celery_app.control.ping(timeout=2) == [{"probe@test": {"ok": "pong"}}], "no pong")
    wait_until(lambda: celery_app.control.inspect(timeout=2).active_queues(), "no answer to remote control")
    assert sentinel.denied() == []


def test_publish_consume_ack_and_restore_stay_inside_the_acl(celery_app: Celery, sentinel: SentinelTopology) -> None:
    for number in range(3):
        celery_app.send_task("probe.add", args=(number, 1), queue="fast")
    with celery_app.connection_for_read() as connection:
        received = take(connection, count=3)
        assert len(received) == 3
        received[0].ack()
        received[1].reject(requeue=True)
        # What a worker leaves behind when its channel closes goes back to the queue.
    with sentinel.primary.client() as client:
        assert client.llen("fast") == 2
        assert client.hlen("unacked") == 0
    with celery_app.connection_for_read() as connection:
        channel = take(connection, count=2)[0].channel
        channel.qos.restore_visible(start=0, num=10)
        connection.default_channel.queue_purge("fast")
    assert sentinel.denied() == []


def take(connection: Connection, *, count: int) -> list[object]:
    """Consume `count` messages without acknowledging them."""
    received: list[object] = []
    consumer = Consumer(connection.channel(), [Queue("fast")], accept=["json"])
    consumer.register_callback(lambda _body, message: received.append(message))
    with consumer:
        while len(received) < count:
            connection.drain_events(timeout=60)
    return received


def test_cache_locks_and_client_locks_stay_inside_the_acl(
    cache: BaseCache, topology: redis_topology.Topology, sentinel: SentinelTopology
) -> None:
    cache.set_many({"a": 1, "b": 2})
    cache.incr("a")
    cache.touch("b", 30)
    assert cache.add("a", 5) is False
    assert cache.get_many(["a", "b"]) == {"a": 2, "b": 2}
    cache.delete_pattern("b*")
    with cache.lock("one at a time", timeout=5) as held:
        held.extend(5)
    with clients.primary(topology) as client, client.lock("holdfast:tick", timeout=5) as second:
        second.reacquire()
        client.info("replication")
        client.role()
    cache.clear()
    assert sentinel.denied() == []


def test_discovery_runs_under_the_apps_own_user_on_every_sentinel(
    topology: redis_topology.Topology, sentinel: SentinelTopology
) -> None:
    for one in sentinel.sentinels:
        assert asks_for_the_primary(one) == sentinel.primary.port
    assert isinstance(topology, redis_topology.Sentinel)
    manager = clients.sentinel_manager(topology)
    assert manager.discover_master(topology.primary_name)[1] == sentinel.primary.port
    assert len(manager.discover_slaves(topology.primary_name)) == 2
    manager.close()
    assert sentinel.denied() == []


def asks_for_the_primary(one: SentinelProcess) -> int:
    with one.client("app") as client, client.pubsub() as events:
        events.subscribe("+switch-master")
        return one.primary_port()
