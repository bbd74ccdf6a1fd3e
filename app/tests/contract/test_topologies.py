"""One suite over both topologies: whatever REDIS_URL names, Celery, the cache and redis-py behave the same."""

import dataclasses
from collections.abc import Iterator

import pytest
import redis
from celery import Celery

import redis_topology
from project.cache import Cache
from redis_topology import clients
from tests.celery_probe import configured
from tests.servers.plugin import RedisFactory
from tests.servers.redis_server import RedisProcess
from tests.servers.sentinel import SentinelTopology

pytestmark = pytest.mark.usefixtures("fresh_clients")


class Stand:
    """A running topology: its URL, and the node that takes writes."""

    def __init__(self, url: str, servers: RedisProcess | SentinelTopology) -> None:
        self.topology = redis_topology.parse(url)
        self._servers = servers

    @property
    def primary(self) -> RedisProcess:
        return self._servers if isinstance(self._servers, RedisProcess) else self._servers.primary

    def denied(self) -> list[str]:
        return self._servers.denied()


@pytest.fixture(params=["standalone", "sentinel"])
def stand(request: pytest.FixtureRequest) -> Stand:
    servers = request.getfixturevalue("redis_server" if request.param == "standalone" else "sentinel")
    return Stand(servers.url, servers)


@pytest.fixture
def app(stand: Stand) -> Iterator[Celery]:
    made = configured(stand.topology)
    yield made
    made.close()


@pytest.fixture
def cache(stand: Stand) -> Cache:
    rendered = stand.topology.django_cache(key_prefix="holdfast")
    return Cache(rendered["LOCATION"], {"KEY_PREFIX": rendered["KEY_PREFIX"], "OPTIONS": rendered["OPTIONS"]})


def test_client_writes_to_the_primary(stand: Stand) -> None:
    with clients.primary(stand.topology) as client:
        client.set("written", "1")
    with stand.primary.client() as seen:
        assert seen.get("written") == "1"


def test_client_takes_another_database_and_timeout(stand: Stand) -> None:
    with clients.primary(stand.topology, db=5, socket_timeout=2.5) as client:
        client.set("written", "1")
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 2.5
    with stand.primary.client(db=5) as seen:
        assert seen.get("written") == "1"


def test_client_does_not_send_a_command_twice(stand: Stand) -> None:
    with clients.primary(stand.topology) as client:
        client.ping()
        stand.primary.freeze()
        try:
            with pytest.raises(redis.TimeoutError):
                client.lpush("fast", "once")
        finally:
            stand.primary.thaw()
    with stand.primary.client() as seen:
        assert seen.llen("fast") <= 1


def test_broker_message_lands_in_the_queues_list(stand: Stand, app: Celery) -> None:
    app.send_task("probe.add", args=(1, 2), queue="fast", priority=0, ignore_result=True)
    app.send_task("probe.add", args=(1, 2), queue="fast", priority=6, ignore_result=True)
    with stand.primary.client(db=stand.topology.db) as client:
        assert (client.llen("fast"), client.llen("fast\x06\x166")) == (1, 1)


def test_result_is_stored_with_a_ttl_and_read_back(stand: Stand, app: Celery) -> None:
    app.backend.store_result("job", {"n": 1}, "SUCCESS")
    assert app.AsyncResult("job").get(timeout=60) == {"n": 1}
    with stand.primary.client() as client:
        assert client.ttl("celery-task-meta-job") > 0


def test_cache_lives_in_the_next_database_under_its_prefix(stand: Stand, cache: Cache) -> None:
    assert cache.set("key", "value")
    assert cache.get("key") == "value"
    with stand.primary.client(db=stand.topology.db + 1) as client:
        assert list(client.scan_iter()) == ["holdfast:1:key"]
    with stand.primary.client(db=stand.topology.db) as client:
        assert client.dbsize() == 0


def test_lock_is_held_by_one_at_a_time(cache: Cache) -> None:
    with cache.lock("tick", timeout=5):
        assert cache.lock("tick", timeout=5).acquire(blocking=False) is False
    assert cache.lock("tick", timeout=5).acquire(blocking=False) is True


def test_wrong_password_is_an_authentication_error(stand: Stand) -> None:
    wrong = dataclasses.replace(stand.topology, password="not this one")
    with clients.primary(wrong) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_nothing_the_clients_do_is_refused_by_the_acl(stand: Stand, app: Celery, cache: Cache) -> None:
    app.send_task("probe.add", args=(1, 2), queue="fast", ignore_result=True)
    app.backend.store_result("job", 1, "SUCCESS")
    cache.set("key", 1)
    cache.clear()
    with clients.primary(stand.topology) as client:
        client.info("replication")
    assert stand.denied() == []


def test_same_suite_holds_over_valkey(redis_factory: RedisFactory) -> None:
    node = redis_factory(binary="valkey-server")
    with clients.primary(redis_topology.parse(node.url)) as client:
        client.set("written", "1")
        assert client.get("written") == b"1"
    app = configured(redis_topology.parse(node.url))
    app.send_task("probe.add", args=(1, 2), queue="fast", ignore_result=True)
    app.backend.store_result("job", 1, "SUCCESS")
    app.close()
    assert node.denied() == []
