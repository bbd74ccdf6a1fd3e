"""What Redis holds survives its own restart, under the stack's ACL: also what came in transactions and scripts."""

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.plugin import RedisFactory
from tests.servers.redis_server import RedisProcess
from tests.servers.sentinel import SentinelTopology
from tests.servers.waiting import wait_until

BINARIES = ("redis-server", "valkey-server")


def write_in_every_form(client: redis.Redis) -> list[str]:
    client.set("plain", 1)
    with client.pipeline(transaction=True) as transaction:
        transaction.lpush("fast", "hint")
        transaction.xadd("holdfast:jobs", {"v": "1"})
        transaction.zadd("unacked_index", {"tag": 1})
        transaction.execute()
    client.eval("redis.call('set', KEYS[1], 1); redis.call('set', KEYS[2], 1)", 2, "script-a", "script-b")
    return sorted(client.scan_iter())


@pytest.mark.parametrize("binary", BINARIES)
def test_restart_replays_transactions_and_scripts(redis_factory: RedisFactory, binary: str) -> None:
    # Redis replays its AOF as user `default` and skips, with no more than a log line, what that user may not run.
    node = redis_factory(binary=binary)
    with node.client() as client:
        before = write_in_every_form(client)
        # While a fsync is under way, everysec holds the write back for up to 2 s; a kill then loses it.
        assert client.execute_command("WAITAOF", 1, 0, 60_000)[0] == 1
    node.restart()
    with node.client() as client:
        assert sorted(client.scan_iter()) == before
    assert "CRITICAL" not in node.log_tail(200)
    assert node.denied() == []


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("password", [None, "", "nopass", "default"])
def test_nobody_gets_in_as_the_default_user(redis_factory: RedisFactory, binary: str, password: str | None) -> None:
    node = redis_factory(binary=binary)
    client = redis.Redis(host=node.host, port=node.port, password=password, retry=Retry(NoBackoff(), 0))
    with client, pytest.raises(redis.AuthenticationError):
        client.get("anything")


def test_transaction_reaches_the_replicas_and_survives_a_failover(sentinel: SentinelTopology) -> None:
    old = sentinel.primary
    with old.client() as client:
        before = write_in_every_form(client)
        assert client.wait(2, 60_000) == 2
    old.kill()
    new = sentinel.await_new_primary(old)
    assert keys_of(new) == before
    sentinel.heal()
    wait_until(lambda: keys_of(old) == before, "the old primary did not take up the new one's keys", seconds=120)
    assert sentinel.denied() == []


def keys_of(node: RedisProcess) -> list[str]:
    with node.client() as client:
        return sorted(client.scan_iter())
