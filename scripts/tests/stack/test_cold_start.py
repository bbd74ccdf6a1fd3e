"""However the six nodes go down and come back: one primary, the right one, and no second that takes writes."""

import os
import random
import threading
import time
import unittest
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from scripts.stack import console, processes
from scripts.stack.redis_nodes import REDIS, SENTINELS
from scripts.stack.resp import RespError
from scripts.stack.waiting import wait_until
from scripts.tests.stack.surroundings import SIX, SUBNET_PREFIX, OnSixNodes, Surroundings


class Writers:
    """One client per node that writes without a pause; `accepted` counts the writes each node acknowledged."""

    def __init__(self, stack: Surroundings) -> None:
        self.accepted: dict[str, int] = defaultdict(int)
        self._stack = stack
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(node,), daemon=True) for node in REDIS]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _write(self, node: str) -> None:
        while not self._stop.wait(0.02):
            try:
                with self._stack.nodes.client(node, user="app", timeout=0.3) as client:
                    while not self._stop.wait(0.02):
                        client.command("INCR", f"written-to:{node}")
                        self.accepted[node] += 1
            except (OSError, RespError):
                continue


class ColdStart(OnSixNodes):
    def test_down_and_up_keeps_the_elected_primary(self) -> None:
        self.make_leader("redis-2")
        self.stack.down()
        with Writers(self.stack) as writers, timed("down and up"):
            self.stack.up(SIX)
            self.assertEqual(self.stack.await_whole(), "redis-2", self.stack.story())
        self.assertEqual(set(writers.accepted), {"redis-2"}, "another node took writes on the way")

    def test_sigkill_of_all_six_ends_with_one_primary(self) -> None:
        leader = self.make_leader("redis-3")
        seed = int(os.environ.get("HOLDFAST_SEED") or 7)
        order = random.Random(seed).sample(SIX, k=len(SIX))
        self.stack.containers.kill(*SIX)
        with Writers(self.stack) as writers, timed(f"SIGKILL of six and start (seed {seed})"):
            for node in order:
                self.stack.containers.start(node)
            self.assertEqual(self.stack.await_whole(), leader, self.stack.story())
        self.assertEqual(set(writers.accepted), {leader}, "another node took writes on the way")

    def test_a_killed_primary_comes_back_as_a_replica(self) -> None:
        old = self.stack.await_whole()
        self.stack.containers.kill(old)
        with timed("failover"):
            wait_until(
                lambda: self.stack.nodes.elected() not in ("", old), within=60, otherwise=f"nobody replaced {old}"
            )
        with Writers(self.stack) as writers, timed("return of the old primary"):
            self.stack.containers.start(old)
            new = self.stack.await_whole()
        self.assertNotEqual(new, old)
        self.assertNotIn(old, writers.accepted, "the old primary took writes")

    def test_a_crashed_primary_that_is_replaced_takes_no_write(self) -> None:
        old = self.stack.await_whole()
        self.stack.containers.crash(old)
        with Writers(self.stack) as writers, timed("crash of the primary"):
            leader = self.stack.await_whole()
            wait_until(lambda: writers.accepted[leader] > 0, within=60, otherwise=f"{leader} takes no writes")
        taken = {node for node, count in writers.accepted.items() if count}
        self.assertEqual(taken, {leader}, f"{old} took writes that its successor never had")

    def test_crash_of_one_process_is_restarted_by_docker(self) -> None:
        node = next(one for one in REDIS if one != self.stack.await_whole())
        before = self.stack.containers.inspect(node)[0]["RestartCount"]
        self.stack.containers.run_in(node, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
        state = wait_until(
            lambda: [one for one in self.stack.containers.inspect(node, running=True) if one["RestartCount"] > before],
            within=60,
            otherwise=f"Docker did not restart {node}",
        )
        self.assertEqual(state[0]["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped")
        self.stack.await_whole()

    def test_a_stopped_node_finds_its_address_free(self) -> None:
        self.stack.containers.stop("redis-1")
        address = self.stack.nodes.address("redis-1")
        with self.crowd(6) as taken:
            self.assertNotIn(address, taken)
            self.stack.containers.start("redis-1")
            self.assertEqual(addresses(self.stack, "redis-1"), [address])
            self.stack.await_whole()

    def test_without_sentinels_a_node_follows_its_own_record(self) -> None:
        leader = self.make_leader("redis-2")
        self.stack.containers.stop(*SIX)
        with Writers(self.stack) as writers, timed("start of Redis without a Sentinel"):
            self.stack.containers.start(*REDIS)
            wait_until(
                lambda: sorted(map(self.stack.nodes.role, REDIS)) == ["master", "slave", "slave"],
                within=120,
                otherwise="the nodes did not take the roles they had",
            )
            wait_until(lambda: writers.accepted[leader] > 0, within=60, otherwise=f"{leader} takes no writes")
        self.assertEqual(self.stack.nodes.primaries(), [leader])
        self.assertEqual(set(writers.accepted), {leader})

    def test_a_node_whose_volume_is_lost_is_filled_by_the_primary(self) -> None:
        primary = self.stack.await_whole()
        replica = next(node for node in REDIS if node != primary)
        for lost in (replica, primary):  # the second only after a failover: its peers have what it had
            leader = self.stack.await_whole()
            with self.stack.nodes.client(leader, user="app", timeout=10) as client:
                client.command("SET", "kept", f"before {lost} lost its volume")
                self.assertEqual(client.command("WAIT", "2", "5000"), 2, "both replicas have it")
            self.stack.containers.kill(lost)
            if lost == leader:
                wait_until(partial(self.is_replaced, lost), within=120, otherwise=f"nobody replaced {lost}")
            self.stack.containers.erase("/data", lost)
            with Writers(self.stack) as writers:
                self.stack.containers.start(lost)
                leader = self.stack.await_whole()
            self.assertNotIn(lost, writers.accepted, "a node without data took writes")
            self.assertEqual(self.stack.nodes.ask(leader, "GET", "kept"), f"before {lost} lost its volume")
            self.assertNotEqual(self.stack.nodes.ask(lost, "DBSIZE"), 0)

    def test_a_sentinel_whose_volume_is_lost_is_who_it_was(self) -> None:
        leader = self.stack.await_whole()
        identity = self.stack.nodes.ask("sentinel-2", "SENTINEL", "MYID")
        self.stack.containers.kill("sentinel-2")
        self.stack.containers.erase("/data", "sentinel-2")
        self.stack.containers.start("sentinel-2")
        self.assertEqual(self.stack.await_whole(), leader, self.stack.story())
        self.assertEqual(self.stack.nodes.ask("sentinel-2", "SENTINEL", "MYID"), identity)

    def test_a_sentinel_reaches_a_new_primary_within_half_its_patience_and_knows_its_replicas(self) -> None:
        self.stack.await_whole()
        for sentinel in SENTINELS:
            reply = self.stack.nodes.ask(sentinel, "SENTINEL", "DEBUG")
            assert isinstance(reply, list)
            periods = {name: int(str(reply[reply.index(name) + 1])) for name in ("PING-PERIOD", "INFO-PERIOD")}
            patience = int(self.stack.stack.value("SENTINEL_DOWN_AFTER_MS"))
            self.assertEqual(periods, {"PING-PERIOD": patience // 2, "INFO-PERIOD": 1000}, sentinel)

    def test_standalone_and_back_ends_with_one_primary(self) -> None:
        leader = self.make_leader("redis-2")
        self.stack.down()
        type(self).stack = self.stack.with_topology("standalone")
        try:
            self.stack.up(["redis-1"])
            self.assertEqual(self.stack.nodes.role("redis-1"), "master")
            with self.stack.nodes.client("redis-1", user="app") as client:
                self.assertEqual(client.command("SET", "written-alone", "1"), "OK")
        finally:
            self.stack.down()
            type(self).stack = self.stack.with_topology("sentinel")
        with Writers(self.stack) as writers:
            self.stack.up(SIX)
            self.assertEqual(self.stack.await_whole(), leader, self.stack.story())
        self.assertEqual(set(writers.accepted), {leader}, "another node took writes on the way")

    def test_another_subnet_rewrites_what_was_recorded(self) -> None:
        leader = self.make_leader("redis-2")
        identities = {node: self.stack.nodes.ask(node, "SENTINEL", "MYID") for node in ("sentinel-1", "sentinel-2")}
        first, second, third = SUBNET_PREFIX.split(".")
        self.stack.down()
        type(self).stack = self.stack.with_values(SUBNET_PREFIX=f"{first}.{second}.{int(third) + 1}")
        try:
            self.stack.up(SIX)
            self.assertEqual(self.stack.await_whole(), leader, self.stack.story())
            for node, identity in identities.items():
                self.assertEqual(self.stack.nodes.ask(node, "SENTINEL", "MYID"), identity)
        finally:
            self.stack.down()
            type(self).stack = self.stack.with_values(SUBNET_PREFIX=SUBNET_PREFIX)
            self.stack.up(SIX)

    def is_replaced(self, former: str) -> bool:
        """Whether the Sentinels name another primary."""
        return self.stack.nodes.elected() not in {"", former}

    def make_leader(self, wanted: str) -> str:
        """Fail over until `wanted` leads; its priority is the only one that is preferred."""
        nodes = self.stack.nodes
        if (old := self.stack.await_whole()) == wanted:
            return wanted
        for node in REDIS:
            nodes.ask(node, "CONFIG", "SET", "replica-priority", "1" if node == wanted else "100")
        # A Sentinel reads a replica's priority with INFO, every 10 s.
        wait_until(
            lambda: nodes.replica(wanted)["slave-priority"] == "1",
            within=60,
            otherwise=f"sentinel-1 does not see the priority of {wanted}",
        )
        nodes.ask("sentinel-1", "SENTINEL", "FAILOVER", "holdfast")
        wait_until(lambda: nodes.elected() not in ("", old), within=60, otherwise=f"{wanted} was not elected")
        self.assertEqual(self.stack.await_whole(), wanted)
        return wanted

    @contextmanager
    def crowd(self, count: int) -> Iterator[list[str]]:
        """Containers with dynamic addresses on the data network; yields the addresses."""
        network = f"{self.stack.stack.project}_data"
        image = self.stack.stack.state["REDIS_IMAGE"]
        argv = ["docker", "run", "--detach", "--rm", "--network", network, "--entrypoint", "sleep", image, "600"]
        made = [processes.read(argv).strip() for _ in range(count)]
        try:
            template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
            yield processes.read(["docker", "inspect", "--format", template, *made]).split()
        finally:
            processes.read(["docker", "rm", "--force", *made])


def addresses(stack: Surroundings, service: str) -> list[str]:
    networks = stack.containers.inspect(service)[0]["NetworkSettings"]["Networks"]
    return [network["IPAddress"] for network in networks.values()]


@contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    console.say(f"  {what}: {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    unittest.main()
