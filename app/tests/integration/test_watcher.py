"""Connections follow the primary, whatever became of the old one."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

import redis_topology
from redis_topology import clients, watcher
from redis_topology.watcher import Leader, Watcher
from tests.servers.sentinel import SentinelTopology
from tests.servers.waiting import wait_until

#: Seconds that a read may wait for by itself: longer than any test, so that only the watcher can end it.
FOR_EVER = 360.0


@pytest.fixture(autouse=True)
def _own_watchers() -> Iterator[None]:
    watcher.stop()
    yield
    watcher.stop()


@pytest.fixture
def client(sentinel: SentinelTopology) -> Iterator[redis.Redis]:
    with clients.primary(redis_topology.parse(sentinel.url), socket_timeout=FOR_EVER) as made:
        made.ping()
        yield made


def the_watcher() -> Watcher:
    """The one of this process, once it knows who leads."""
    (one,) = watcher.current()
    wait_until(lambda: one.leader, "no Sentinel told the watcher who leads")
    return one


def test_a_read_that_waits_on_a_frozen_primary_is_woken(sentinel: SentinelTopology, client: redis.Redis) -> None:
    the_watcher()
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(lambda: client.blpop(["nobody-writes-here"], timeout=0))
        wait_until(lambda: blocked(sentinel), "the read does not wait")
        old = sentinel.primary
        old.freeze()
        sentinel.await_new_primary(old)
        with pytest.raises(redis.ConnectionError):
            read.result(timeout=120)
    assert client.set("written", "1")
    with sentinel.primary.client() as seen:
        assert seen.get("written") == "1"


def test_idle_connections_follow_with_one_sentinel_dead(sentinel: SentinelTopology, client: redis.Redis) -> None:
    the_watcher()
    sentinel.sentinels[0].kill()
    old = sentinel.primary
    old.freeze()
    new = sentinel.await_new_primary(old)
    wait_until(lambda: the_watcher().leader == Leader(("127.0.0.1", new.port), epoch(sentinel)), "it did not follow")
    client.set("written", "1")  # without a single failed command: the pool sees that the idle socket is closed
    with new.client() as seen:
        assert seen.get("written") == "1"


def test_the_word_of_a_sentinel_that_lags_moves_nobody(sentinel: SentinelTopology, client: redis.Redis) -> None:
    followed = the_watcher()
    before, leader = client.client_id(), followed.leader
    assert leader is not None
    followed.learn(Leader(("127.0.0.1", 1), leader.epoch - 1))
    followed.learn(leader)
    assert followed.leader == leader
    assert client.client_id() == before


def test_a_sentinel_that_lags_leads_nobody_back_within_one_epoch(
    sentinel: SentinelTopology, client: redis.Redis
) -> None:
    followed = the_watcher()
    old = followed.leader
    assert old is not None
    promoted = Leader(("127.0.0.1", 1), old.epoch)  # read between the promotion and the new epoch
    followed.learn(promoted)
    followed.learn(old)
    assert followed.leader == promoted


def test_the_sentinel_that_carries_the_failover_out_is_asked_for_the_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all replicas follow, its state has the new epoch beside the former address."""
    asked = watcher._Ear(redis.Redis(), "holdfast")
    state = {"ip": "10.0.0.1", "port": 6379, "config-epoch": 7}
    monkeypatch.setattr(asked._client, "sentinel_master", lambda _name: state)
    monkeypatch.setattr(asked._client, "sentinel_get_master_addr_by_name", lambda _name: (b"10.0.0.2", 6379))
    assert asked.ask() == Leader(("10.0.0.2", 6379), 7)


def test_a_sentinel_that_watches_nothing_of_that_name_is_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = watcher._Ear(redis.Redis(), "holdfast")
    monkeypatch.setattr(asked._client, "sentinel_master", lambda _name: {"config-epoch": 7})
    monkeypatch.setattr(asked._client, "sentinel_get_master_addr_by_name", lambda _name: None)
    with pytest.raises(redis.RedisError, match="watches no holdfast"):
        asked.ask()


def test_a_frozen_sentinel_costs_little_however_patient_the_client_is() -> None:
    """Its client is the application's own: kombu's, say, which waits for ever."""
    patient = redis.Redis(socket_timeout=None, socket_connect_timeout=60)
    settings = watcher._Ear(patient, "holdfast")._client.connection_pool.connection_kwargs
    assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (0.3, 0.2)
    assert settings["retry"].get_retries() == 0


def test_who_connected_late_to_the_former_primary_is_moved(sentinel: SentinelTopology, client: redis.Redis) -> None:
    followed = the_watcher()
    leader = followed.leader
    assert leader is not None
    before = client.client_id()
    followed.learn(Leader(("127.0.0.1", 1), leader.epoch + 1))
    followed.learn(Leader(leader.address, leader.epoch + 2))
    followed._former = leader.address  # as if this connection had been made on a lagging Sentinel's word
    client.ping()
    followed.learn(Leader(leader.address, leader.epoch + 2))
    assert client.client_id() != before


def test_who_pauses_before_a_retry_is_woken_by_the_move(sentinel: SentinelTopology, client: redis.Redis) -> None:
    the_watcher()
    before = watcher.moves()
    assert not watcher.await_move(since=before, seconds=0.01)
    with ThreadPoolExecutor(1) as pool:
        pause = pool.submit(lambda: watcher.await_move(since=before, seconds=FOR_EVER))
        old = sentinel.primary
        old.kill()
        assert pause.result(timeout=120)
    assert sentinel.await_new_primary(old).port != old.port
    assert watcher.await_move(since=before, seconds=FOR_EVER)  # a move that is over counts, too


def test_a_sentinel_that_comes_back_is_heard_again(sentinel: SentinelTopology, client: redis.Redis) -> None:
    followed = the_watcher()
    for one in sentinel.sentinels:
        one.kill()
    wait_until(lambda: not any(ear.socket for ear in followed._ears), "dead Sentinels are not noticed")
    for one in sentinel.sentinels:
        one.start()
    sentinel.await_healthy()
    wait_until(lambda: all(ear.socket for ear in followed._ears), "Sentinels are not subscribed to again")
    old = sentinel.primary
    old.kill()
    new = sentinel.await_new_primary(old)
    wait_until(lambda: followed.leader and followed.leader.address[1] == new.port, "it did not follow")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_its_own_with_its_first_connection(client: redis.Redis) -> None:
    assert len(watcher.current()) == 1
    pid = os.fork()
    if pid == 0:
        verdict = 1
        try:
            none_yet = not watcher.current()
            client.ping()
            (own,) = watcher.current()
            verdict = 0 if none_yet and _within(60, lambda: own.leader) else 1
        finally:
            os._exit(verdict)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _within(seconds: float, check: Callable[[], object]) -> bool:
    until = time.monotonic() + seconds
    while not check() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(check())


def blocked(sentinel: SentinelTopology) -> bool:
    with sentinel.primary.client() as seen:
        return bool(seen.info("clients")["blocked_clients"])


def epoch(sentinel: SentinelTopology) -> int:
    """The newest that a running Sentinel knows."""
    found = []
    for one in sentinel.sentinels:
        if one.running:
            with one.client("operator") as seen:
                found.append(int(seen.sentinel_master("holdfast")["config-epoch"]))
    return max(found)
