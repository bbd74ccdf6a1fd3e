"""A planned change of the primary on real nodes: what it costs, who may die in the middle, and when it is refused."""

from itertools import pairwise
from unittest import mock

from scripts.failover.writes import NumberedWrites, longest_silence
from scripts.stack import console, handover, restart
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import REDIS, SENTINELS
from scripts.stack.waiting import wait_until
from scripts.tests.stack.surroundings import SIX, OnSixNodes

TIMES = 3
#: Seconds for which no write may be taken, on a machine that does other work too; a failover takes more than two.
LONGEST_GAP = 2.0


class HandOver(OnSixNodes):
    def test_loses_no_acknowledged_write(self) -> None:
        writes = NumberedWrites(self.stack.nodes, key="hand-over")
        writes.start()
        leaders = [self.stack.nodes.elected()]
        try:
            for _ in range(TIMES):
                leaders.append(handover.hand_over(self.stack.nodes))
        finally:
            writes.stop()
        self.assertTrue(all(old != new for old, new in pairwise(leaders)), leaders)
        self.assertGreater(len(writes.acknowledged), 100)
        console.say(f"longest gap over {TIMES}: {longest_silence(writes.acknowledged, after=0):.3f} s")
        self.assertEqual(writes.lost(), 0)

    def test_the_next_finishes_what_a_dead_one_left(self) -> None:
        former = self.stack.nodes.elected()
        successor = handover.best_replica(self.stack.nodes, former)
        with self.stack.nodes.client(former) as client:
            handover._swap(self.stack.nodes, client, successor)  # and dies before the Sentinels hear of it
        self.assertEqual(self.stack.nodes.elected(), former)
        self.assertEqual(handover.hand_over(self.stack.nodes), successor)
        self.assertEqual(self.stack.await_whole(), successor)

    def test_the_next_finishes_it_though_a_sentinel_is_missing(self) -> None:
        former = self.stack.nodes.elected()
        successor = handover.best_replica(self.stack.nodes, former)
        with self.stack.nodes.client(former) as client:
            handover._swap(self.stack.nodes, client, successor)
        self.stack.containers.kill("sentinel-3")
        with (
            mock.patch.object(handover, "AGREE_SECONDS", 1.0),
            self.assertRaisesRegex(StackError, f"{successor} leads, and the Sentinels do not agree yet"),
        ):
            handover.hand_over(self.stack.nodes)
        self.assertEqual(self.stack.nodes.elected(), successor)
        self.stack.containers.recover("sentinel-3")
        self.assertEqual(self.stack.await_whole(), successor)

    def test_writes_go_on_when_it_is_given_up(self) -> None:
        """A replica freezes while writes pause: they go on at once, at the same primary."""
        former = self.stack.nodes.elected()
        frozen = next(node for node in REDIS if node != former)
        with self.assertRaises(StackError), handover._connected(self.stack.nodes, former) as (clients, _):
            self.stack.containers.pause(frozen)
            with handover._paused(clients[former]):
                handover._await_offsets(clients, former)
        self.assertEqual(self.stack.nodes.ask(former, "SET", "written", "1"), "OK")
        self.assertEqual(self.stack.nodes.elected(), former)

    def test_is_refused_while_somebody_is_missing(self) -> None:
        former = self.stack.nodes.elected()
        for missing in ("sentinel-2", next(node for node in REDIS if node != former)):
            self.stack.containers.kill(missing)
            with self.assertRaises(StackError):
                handover.hand_over(self.stack.nodes)
            self.assertEqual(self.stack.nodes.role(former), "master")
            self.stack.containers.recover(missing)
            self.stack.await_whole()


class Stop(OnSixNodes):
    """What TERM does to a node."""

    def test_of_the_primary_hands_over_first(self) -> None:
        former = self.stack.nodes.elected()
        writes = NumberedWrites(self.stack.nodes, key="stop")
        writes.start()
        try:
            wait_until(lambda: writes.acknowledged, within=60, otherwise="nothing is written")
            self.stack.containers.stop(former)
            self.assertNotIn(self.stack.nodes.elected(), {former, ""})
            before = len(writes.acknowledged)
            wait_until(lambda: len(writes.acknowledged) > before, within=60, otherwise="writes do not go on")
        finally:
            writes.stop()
        gap = longest_silence(writes.acknowledged, after=0)
        console.say(f"docker stop of the primary: longest gap {gap:.3f} s")
        self.assertLess(gap, LONGEST_GAP)
        self.assertEqual(writes.lost(), 0)
        self.assertEqual(self.stack.containers.inspect(former)[0]["State"]["ExitCode"], 0)

    def test_of_a_replica_changes_nothing(self) -> None:
        primary = self.stack.nodes.elected()
        replica = next(node for node in REDIS if node != primary)
        self.stack.containers.stop(replica)
        self.assertEqual(self.stack.containers.inspect(replica)[0]["State"]["ExitCode"], 0)
        self.assertEqual(self.stack.nodes.elected(), primary)

    def test_of_all_nodes_after_the_sentinels_hands_nothing_over(self) -> None:
        """As `make down` stops them."""
        primary = self.stack.nodes.elected()
        self.stack.containers.stop(*SENTINELS)
        self.stack.containers.stop(*REDIS)
        codes = [one["State"]["ExitCode"] for one in self.stack.containers.inspect(*REDIS)]
        self.assertEqual(codes, [0, 0, 0])
        self.stack.containers.start(*SIX)
        self.assertEqual(self.stack.await_whole(), primary, self.stack.story())

    def test_goes_on_when_the_hand_over_cannot(self) -> None:
        """No replica is in step: the node stops all the same."""
        primary = self.stack.nodes.elected()
        self.stack.containers.kill(*(node for node in REDIS if node != primary))
        self.stack.containers.stop(primary)
        self.assertEqual(self.stack.containers.inspect(primary)[0]["State"]["ExitCode"], 0)


class Restart(OnSixNodes):
    def test_of_all_six_loses_no_acknowledged_write(self) -> None:
        containers = self.stack.containers
        before = {one["Id"] for one in containers.inspect(*SIX)}
        said: list[str] = []
        writes = NumberedWrites(self.stack.nodes, key="restart")
        writes.start()
        try:
            restart.restart(self.stack.stack, tell=said.append)
        finally:
            writes.stop()
        gap = longest_silence(writes.acknowledged, after=0)
        console.say(f"restart of all six: longest gap {gap:.3f} s over {len(writes.acknowledged)} writes")
        self.assertEqual(writes.lost(), 0)
        self.assertLess(gap, LONGEST_GAP)
        self.assertEqual(len(said), len(SIX) + 1, said)
        self.assertFalse(before & {one["Id"] for one in containers.inspect(*SIX)}, "a node was not made anew")
