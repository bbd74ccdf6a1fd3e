"""A full Redis gives up what has a TTL, and never a job: the policy is volatile-lru."""

import pytest
import redis
from celery import Celery

import redis_topology
from project.cache import Cache
from tests.celery_probe import configured
from tests.servers.plugin import RedisFactory
from tests.servers.redis_server import RedisProcess

pytestmark = pytest.mark.usefixtures("fresh_clients")

#: Keys that carry work: queues by priority, the stream, what workers hold, and the broker's epoch.
WORK = ("fast", "fast\x06\x163", "holdfast:jobs", "unacked", "unacked_index", "_kombu.binding.fast", "holdfast:epoch")


def test_full_redis_evicts_only_keys_with_a_ttl(redis_factory: RedisFactory) -> None:
    node = redis_factory(maxmemory="12mb", save="")
    with node.client() as broker, node.client(db=1) as cached:
        put_work(node, broker)
        work = {key: broker.dump(key) for key in broker.scan_iter()}
        assert set(WORK) <= set(work)
        written = fill_with_cache(node)
        assert evicted(node) > 0, "the test must reach maxmemory"
        assert {key: broker.dump(key) for key in broker.scan_iter()} == work
        assert cached.dbsize() < written


def test_full_of_work_refuses_writes_and_drops_nothing(redis_factory: RedisFactory) -> None:
    node = redis_factory(maxmemory="8mb", save="")
    sent = 0
    with node.client() as broker:
        try:
            while sent < 100_000:
                broker.lpush("fast", *["x" * 1000] * 10)
                sent += 10
        except redis.exceptions.OutOfMemoryError:
            pass
        assert 0 < sent < 100_000
        assert broker.llen("fast") == sent
    assert evicted(node) == 0


def test_cache_degrades_to_misses_when_work_fills_redis(redis_factory: RedisFactory) -> None:
    node = redis_factory(maxmemory="8mb", save="")
    with node.client() as broker, node.operator() as operator:
        broker.lpush("fast", *["x" * 1000] * 5000)
        operator.config_set("maxmemory", "3mb")
    cache = cache_on(node)
    assert cache.set("key", "value") is False
    assert cache.get("key") is None


def put_work(node: RedisProcess, broker: redis.Redis) -> None:
    app = celery_on(node)
    for priority in (0, 3):
        app.send_task("probe.add", args=(1, 1), queue="fast", priority=priority, ignore_result=True)
    with app.connection_for_write() as connection:
        app.amqp.queues["fast"].bind(connection.default_channel).declare()
    app.close()
    broker.xadd("holdfast:jobs", {"v": "1", "id": "job"})
    broker.hset("unacked", "tag", "message")
    broker.zadd("unacked_index", {"tag": 1})
    broker.set("holdfast:epoch", "epoch")


def fill_with_cache(node: RedisProcess) -> int:
    cache = cache_on(node)
    batches = 30
    for batch in range(batches):
        assert cache.set_many({f"{batch}-{number}": "x" * 2000 for number in range(500)}, timeout=None) == []
    return batches * 500


def celery_on(node: RedisProcess) -> Celery:
    return configured(redis_topology.parse(node.url))


def cache_on(node: RedisProcess) -> Cache:
    rendered = redis_topology.parse(node.url).django_cache(key_prefix="holdfast")
    return Cache(rendered["LOCATION"], {"KEY_PREFIX": "holdfast", "OPTIONS": rendered["OPTIONS"]})


def evicted(node: RedisProcess) -> int:
    with node.operator() as operator:
        return int(operator.info("stats")["evicted_keys"])
