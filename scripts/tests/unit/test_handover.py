"""What the hand-over says and decides without nodes."""

import signal
import unittest
from pathlib import Path
from typing import Any, cast
from unittest import mock

from scripts.stack import handover
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.handover import Sentinel
from scripts.stack.redis_nodes import RedisNodes
from scripts.stack.resp import RespClient

NODES = RedisNodes(Stack(Path("/x"), Path("/x/.env"), {"SUBNET_PREFIX": "10.9.9"}, "celery", "sentinel"))


def replication(first: str, second: str) -> dict[str, str]:
    """INFO replication of a primary with two replicas."""
    return {"connected_slaves": "2", "slave0": first, "slave1": second}


def replica(number: int, *, offset: int, lag: int = 0, state: str = "online") -> str:
    return f"ip=10.9.9.{number},port=6379,state={state},offset={offset},lag={lag}"


class Greeting(unittest.TestCase):
    def test_has_the_eight_fields_of_a_sentinel_s_own(self) -> None:
        other = Sentinel(mock.Mock(spec=RespClient), "10.9.9.22", "abc", epoch=4)
        self.assertEqual(handover.greeting(other, 7, "10.9.9.12"), "10.9.9.22,26379,abc,7,holdfast,10.9.9.12,6379,7")


class Successor(unittest.TestCase):
    def chosen(self, first: str, second: str) -> str:
        return self.chosen_of(replication(first, second))

    def chosen_of(self, facts: dict[str, str]) -> str:
        with mock.patch.object(RedisNodes, "info", return_value=facts):
            return handover.furthest_in_step(NODES, "redis-1")

    def test_is_the_replica_that_is_furthest(self) -> None:
        self.assertEqual(self.chosen(replica(12, offset=90), replica(13, offset=100)), "redis-3")

    def test_there_is_none_while_a_replica_lags_or_is_still_copying(self) -> None:
        for ill in (replica(13, offset=100, lag=2), replica(13, offset=100, state="wait_bgsave")):
            self.assertEqual(self.chosen(replica(12, offset=90), ill), "")
        self.assertEqual(self.chosen_of({}), "")

    def test_is_waited_for_while_a_replica_says_its_first_word(self) -> None:
        loading = replication(replica(12, offset=90), replica(13, offset=0, state="send_bulk"))
        loaded = replication(replica(12, offset=90), replica(13, offset=100))
        with mock.patch.object(RedisNodes, "info", side_effect=[{}, loading, loaded]):
            self.assertEqual(handover.best_replica(NODES, "redis-1"), "redis-3")

    def test_is_refused_in_the_end_with_the_command_to_run_next(self) -> None:
        with (
            mock.patch.object(handover, "IN_STEP_SECONDS", 0.0),
            mock.patch.object(RedisNodes, "info", return_value={}),
            self.assertRaises(StackError) as refused,
        ):
            handover.best_replica(NODES, "redis-1")
        self.assertEqual(refused.exception.fix, "make ps")


class Peer:
    """A connection that notes what it is told, or is dead."""

    def __init__(self, *, dead: bool = False, follows: str = "") -> None:
        self.told: list[tuple[str, ...]] = []
        self._dead, self._follows = dead, follows

    def command(self, *words: str) -> str:
        if self._dead:
            raise OSError("it is frozen")
        self.told.append(words)
        return f"master_host:{self._follows}\r\n" if words[0] == "INFO" else "OK"


class Announcement(unittest.TestCase):
    def announce(self, sentinels: list[Peer], nodes: dict[str, Peer]) -> None:
        known = [
            handover.Sentinel(cast(Any, peer), f"10.9.9.2{number}", f"id-{number}", epoch=number)
            for number, peer in enumerate(sentinels, 1)
        ]
        handover._announce(NODES, cast(Any, nodes), known, "redis-3")

    def test_who_died_keeps_nobody_else_from_hearing_it(self) -> None:
        sentinels = [Peer(dead=True), Peer(), Peer()]
        nodes = {"redis-1": Peer(dead=True), "redis-2": Peer(follows="10.9.9.11"), "redis-3": Peer()}
        self.announce(sentinels, nodes)
        for peer in sentinels[1:]:
            [(verb, channel, text)] = peer.told
            self.assertEqual((verb, channel), ("PUBLISH", "__sentinel__:hello"))
            self.assertTrue(text.endswith(",4,holdfast,10.9.9.13,6379,4"), text)
        self.assertEqual(nodes["redis-2"].told[-1], ("REPLICAOF", "10.9.9.13", "6379"))
        self.assertEqual(nodes["redis-3"].told, [])

    def test_is_an_error_when_nobody_heard_it(self) -> None:
        nodes = {"redis-2": Peer(follows="10.9.9.11")}
        with self.assertRaisesRegex(StackError, "redis-3 leads, and no Sentinel heard it"):
            self.announce([Peer(dead=True), Peer(dead=True)], nodes)
        self.assertEqual(nodes["redis-2"].told[-1], ("REPLICAOF", "10.9.9.13", "6379"))


class Interruptions(unittest.TestCase):
    def test_wait_until_the_announcement_is_out(self) -> None:
        # Whoever was started in the background of a shell ignores it.
        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, former)
        steps = []
        with self.assertRaises(KeyboardInterrupt):
            with handover._uninterrupted():
                signal.raise_signal(signal.SIGINT)
                steps.append("announced")
            steps.append("never")
        self.assertEqual(steps, ["announced"])


class HalfDone(unittest.TestCase):
    def swapped(self, *, named: str, leading: list[str], follows: str) -> str:
        with (
            mock.patch.object(RedisNodes, "elected", return_value=named),
            mock.patch.object(RedisNodes, "primaries", return_value=leading),
            mock.patch.object(RedisNodes, "info", return_value={"master_host": follows}),
        ):
            return handover._swapped(NODES)

    def test_is_found_where_the_named_primary_follows_another(self) -> None:
        self.assertEqual(self.swapped(named="redis-1", leading=["redis-3"], follows="10.9.9.13"), "redis-3")

    def test_is_not_seen_in_a_whole_topology_nor_in_a_fault(self) -> None:
        self.assertEqual(self.swapped(named="redis-1", leading=["redis-1"], follows=""), "")
        self.assertEqual(self.swapped(named="redis-1", leading=["redis-1", "redis-3"], follows="10.9.9.13"), "")
        self.assertEqual(self.swapped(named="redis-1", leading=["redis-3"], follows="10.9.9.12"), "")
        self.assertEqual(self.swapped(named="", leading=["redis-3"], follows="10.9.9.13"), "")
