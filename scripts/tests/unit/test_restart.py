"""The order of a rolling restart, and what it refuses."""

import unittest
from pathlib import Path
from unittest import mock

from scripts.stack import handover, restart
from scripts.stack.deployment import Stack
from scripts.stack.redis_nodes import REDIS, SENTINELS, RedisNodes

STACK = Stack(Path("/x"), Path("/x/.env"), {"SUBNET_PREFIX": "10.9.9"}, "celery", "sentinel")


class Order(unittest.TestCase):
    def test_replicas_then_the_primary_then_sentinels(self) -> None:
        found = restart.order({*REDIS, *SENTINELS}, primary="redis-1")
        self.assertEqual(found, ["redis-2", "redis-3", "redis-1", "sentinel-1", "sentinel-2", "sentinel-3"])

    def test_of_what_is_wanted_only(self) -> None:
        self.assertEqual(restart.order({"sentinel-2", "redis-3"}, primary="redis-1"), ["redis-3", "sentinel-2"])


class InStep(unittest.TestCase):
    def seen(self, *, leader: str, furthest: str) -> bool:
        with (
            mock.patch.object(RedisNodes, "leader_of_whole", return_value=leader),
            mock.patch.object(handover, "furthest_in_step", return_value=furthest),
        ):
            return restart.is_in_step(RedisNodes(STACK))

    def test_needs_the_word_of_sentinels_and_of_the_primary(self) -> None:
        self.assertTrue(self.seen(leader="redis-1", furthest="redis-2"))
        self.assertFalse(self.seen(leader="", furthest="redis-2"))
        self.assertFalse(self.seen(leader="redis-1", furthest=""))
