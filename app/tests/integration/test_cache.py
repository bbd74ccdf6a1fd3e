"""Django's cache: every key can be evicted, clearing removes ours only, and a Redis that is down costs misses."""

import time
from collections.abc import Iterator

import pytest
import redis
from django.core.cache import caches

import project.cache
import redis_topology
from project.cache import MAXIMUM_TTL, REFUSED, Cache, Pause
from tests.servers.redis_server import RedisProcess

pytestmark = pytest.mark.usefixtures("fresh_clients")


@pytest.fixture
def cache(redis_server: RedisProcess) -> Iterator[Cache]:
    yield caches["default"]
    redis_server.thaw()
    if not redis_server.running:
        redis_server.start()


@pytest.fixture
def database(redis_server: RedisProcess) -> Iterator[redis.Redis]:
    """The cache's own database, seen from outside."""
    with redis_server.client(db=1) as client:
        yield client


def test_timeout_none_becomes_the_maximum_ttl(cache: Cache, database: redis.Redis) -> None:
    cache.set("set", 1, timeout=None)
    cache.add("add", 1, timeout=None)
    cache.set_many({"many": 1}, timeout=None)
    cache.get_or_set("or-set", 1, timeout=None)
    cache.set("touched", 1, timeout=500)
    cache.touch("touched", timeout=None)
    cache.set("counted", 1, timeout=None)
    cache.incr("counted")
    keys = list(database.scan_iter())
    assert len(keys) == 6
    assert all(MAXIMUM_TTL - 60 < database.ttl(key) <= MAXIMUM_TTL for key in keys)


def test_incr_on_a_number_too_large_for_redis_keeps_a_ttl(cache: Cache, database: redis.Redis) -> None:
    cache.set("large", 2**70, timeout=None)
    assert cache.incr("large") == 2**70 + 1
    assert database.ttl("holdfast:1:large") > 0


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_makes_keys_without_a_ttl(cache: Cache, name: str) -> None:
    with pytest.raises(NotImplementedError, match=name):
        getattr(cache, name)("key")


def test_clear_unlinks_our_prefix_in_every_version_and_nothing_else(cache: Cache, redis_server: RedisProcess) -> None:
    with redis_server.client(db=1) as ours, redis_server.client(db=0) as broker:
        ours.set("holdfast-other:1:key", "kept")
        ours.set("holdfas?:1:key", "kept")
        broker.lpush("fast", "hint")
        cache.set_many({f"key-{number}": number for number in range(1200)})
        cache.set("old", 1, version=2)
        assert cache.clear() == 1201
        assert sorted(ours.scan_iter()) == ["holdfas?:1:key", "holdfast-other:1:key"]
        assert broker.llen("fast") == 1
    assert redis_server.denied() == []


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_everything_is_a_miss_in_bounded_time_while_redis_is_down(
    cache: Cache, redis_server: RedisProcess, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("known", 1)
    monkeypatch.setattr(project.cache, "PAUSE", 600.0)  # one timeout buys a pause that outlasts the rest
    getattr(redis_server, fault)()
    began = time.monotonic()
    assert cache.get("known") is None
    assert cache.get("known", "default") == "default"
    assert cache.get_many(["known"]) == {}
    assert cache.set("new", 1) is False
    assert cache.set_many({"new": 1}) == ["new"]
    assert cache.add("lock", 1) is False
    assert cache.has_key("known") is False
    assert cache.touch("known") is False
    assert cache.delete("known") is False
    assert cache.delete_many(["known"]) == 0
    assert cache.get_or_set("known", 5) == 5
    assert cache.clear() == 0
    with pytest.raises(ValueError, match="not found"):
        cache.incr("known")
    assert time.monotonic() - began < 6.0, "one timeout of 0.5 s; thirteen take longer than that"


def test_cache_returns_by_itself_after_the_pause(cache: Cache, redis_server: RedisProcess) -> None:
    cache.set("known", 1)
    redis_server.freeze()
    assert cache.get("known") is None
    redis_server.thaw()
    assert cache.get("known") is None, "within the pause nobody asks Redis"
    Pause.end()
    assert cache.get("known") == 1


def test_lock_is_an_error_while_redis_is_down(cache: Cache, redis_server: RedisProcess) -> None:
    redis_server.kill()
    with pytest.raises(redis.ConnectionError), cache.lock("one", timeout=1):
        pass


def test_wrong_password_is_a_miss_and_is_logged(
    redis_server: RedisProcess, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered = redis_topology.parse(redis_server.url.replace("//app:", "//app:not")).django_cache(key_prefix="wrong")
    location = rendered["LOCATION"]
    wrong = Cache(location, {"KEY_PREFIX": "wrong", "OPTIONS": rendered["OPTIONS"]})
    assert wrong.get("anything") is None
    printed = capsys.readouterr()
    assert "username-password" in caplog.text + printed.err + printed.out
