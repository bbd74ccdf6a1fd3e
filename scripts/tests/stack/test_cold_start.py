"""However the six nodes go down and come back: one primary, the right one, and no second that takes writes."""

import random
import threading
import time
import unittest
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from scripts.stack import console, processes
from scripts.stack.redis_nodes import REDIS
from scripts.stack.resp import RespError
from scripts.stack.waiting import wait_until
from scripts.tests.stack import surroundings
from scripts.tests.stack.surroundings import SIX, Surroundings


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
            thread.join(timeout=5)

    def _write(self, node: str) -> None:
        while not self._stop.wait(0.02):
            try:
                with self._stack.nodes.client(node, user="app", timeout=0.3) as client:
                    while not self._stop.wait(0.02):
                        client.command("INCR", f"written-to:{node}")
                        self.accepted[node] += 1
            except (OSError, RespError):
                continue


class ColdStart(unittest.TestCase):
    stack: ClassVar[Surroundings]

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = surroundings.create(topology="sentinel")
        cls.addClassCleanup(lambda: cls.stack.remove())
        cls.stack.up(SIX)

    def setUp(self) -> None:
        self.stack.containers.recover(*SIX)
        self.stack.await_whole()

    def test_down_and_up_keeps_the_elected_primary(self) -> None:
        self.make_leader("redis-2")
        self.stack.down()
        with Writers(self.stack) as writers, timed("down and up"):
            self.stack.up(SIX)
            self.assertEqual(self.stack.await_whole(), "redis-2", self.stack.story())
        self.assertEqual(set(writers.accepted), {"redis-2"}, "another node took writes on the way")

    def test_sigkill_of_all_six_ends_with_one_primary(self) -> None:
        leader = self.make_leader("redis-3")
        seed = random.randrange(10**6)
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
                lambda: self.stack.nodes.elected() not in ("", old), within=15, otherwise=f"nobody replaced {old}"
            )
        with Writers(self.stack) as writers, timed("return of the old primary"):
            self.stack.containers.start(old)
            new = self.stack.await_whole()
        self.assertNotEqual(new, old)
        self.assertNotIn(old, writers.accepted, "the old primary took writes")

    def test_crash_of_one_process_is_restarted_by_docker(self) -> None:
        node = next(one for one in REDIS if one != self.stack.await_whole())
        before = self.stack.containers.inspect(node)[0]["RestartCount"]
        self.stack.containers.run_in(node, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
        state = wait_until(
            lambda: [one for one in self.stack.containers.inspect(node, running=True) if one["RestartCount"] > before],
            within=15,
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
                within=30,
                otherwise="the nodes did not take the roles they had",
            )
            wait_until(lambda: writers.accepted[leader] > 0, within=15, otherwise=f"{leader} takes no writes")
        self.assertEqual(self.stack.nodes.primaries(), [leader])
        self.assertEqual(set(writers.accepted), {leader})

    def test_another_subnet_rewrites_what_was_recorded(self) -> None:
        leader = self.make_leader("redis-2")
        identities = {node: self.stack.nodes.ask(node, "SENTINEL", "MYID") for node in ("sentinel-1", "sentinel-2")}
        first, second, third = surroundings.SUBNET_PREFIX.split(".")
        self.stack.down()
        type(self).stack = self.stack.with_values(SUBNET_PREFIX=f"{first}.{second}.{int(third) + 1}")
        try:
            self.stack.up(SIX)
            self.assertEqual(self.stack.await_whole(), leader, self.stack.story())
            for node, identity in identities.items():
                self.assertEqual(self.stack.nodes.ask(node, "SENTINEL", "MYID"), identity)
        finally:
            self.stack.down()
            type(self).stack = self.stack.with_values(SUBNET_PREFIX=surroundings.SUBNET_PREFIX)
            self.stack.up(SIX)

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
            within=15,
            otherwise=f"sentinel-1 does not see the priority of {wanted}",
        )
        nodes.ask("sentinel-1", "SENTINEL", "FAILOVER", "holdfast")
        wait_until(lambda: nodes.elected() not in ("", old), within=15, otherwise=f"{wanted} was not elected")
        self.assertEqual(self.stack.await_whole(), wanted)
        return wanted

    @contextmanager
    def crowd(self, count: int) -> Iterator[list[str]]:
        """Containers with dynamic addresses on the data network; yields the addresses."""
        network = f"{self.stack.stack.project}_data"
        image = self.stack.stack.state["REDIS_IMAGE"]
        argv = ["docker", "run", "--detach", "--rm", "--network", network, "--entrypoint", "sleep", image, "120"]
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
