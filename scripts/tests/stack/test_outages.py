"""Short runs of drills: outages in both topologies; losses, kills and webhooks beside Sentinels.

They judge what is lost and what comes twice; `make drill` runs them at full length and judges times too.
"""

import os
import unittest
from typing import ClassVar

from scripts.drills import accepts_without_redis, postgres_outage, redis_loss, webhooks, worker_kills
from scripts.stack.errors import StackError
from scripts.tests.stack import surroundings
from scripts.tests.stack.surroundings import Surroundings

JOBS = int(os.environ.get("JOBS") or 300)
RATE = float(os.environ.get("RATE") or 50)
OUTAGE_SECONDS = 10.0
WEBHOOK_JOBS = int(os.environ.get("JOBS") or 120)
SEED = int(os.environ.get("HOLDFAST_SEED") or 7)

#: This plan kills every service, children and main processes; worker-io twice, which always has something in hand.
KILLS, KILL_JOBS, KILL_RATE, KILL_SEED = 6, 900, 30.0, 105


class Outages:
    """What both topologies share; unittest collects the two classes below."""

    topology: ClassVar[str]
    stack: ClassVar[Surroundings]

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = surroundings.create(topology=cls.topology)
        try:
            cls.stack.up()
        except StackError:
            cls.stack.remove()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        cls.stack.remove()

    def accept_without_redis(self, fault: str) -> int:
        return accepts_without_redis.run(self.stack.stack, fault=fault, jobs=JOBS, rate=RATE, judges_time=False)

    def refuse_without_postgres(self, fault: str) -> int:
        stack = self.stack.stack
        return postgres_outage.run(stack, fault=fault, rate=RATE, seconds=OUTAGE_SECONDS, judges_time=False)


class OutagesBesideSentinels(Outages, unittest.TestCase):
    topology = "sentinel"

    def tearDown(self) -> None:
        self.stack.await_whole()

    def test_accepts_while_redis_is_stopped(self) -> None:
        self.assertEqual(self.accept_without_redis("stopped"), 0)

    def test_accepts_while_redis_is_frozen(self) -> None:
        self.assertEqual(self.accept_without_redis("paused"), 0)

    def test_accepts_while_redis_and_sentinels_are_frozen(self) -> None:
        self.assertEqual(self.accept_without_redis("all-paused"), 0)

    def test_refuses_quickly_while_postgres_is_stopped(self) -> None:
        self.assertEqual(self.refuse_without_postgres("stopped"), 0)

    def test_refuses_quickly_while_postgres_is_frozen(self) -> None:
        self.assertEqual(self.refuse_without_postgres("paused"), 0)

    def test_loses_nothing_when_every_redis_volume_is_emptied(self) -> None:
        self.assertEqual(self.lose_redis("lost"), 0)

    def test_loses_nothing_when_redis_is_flushed(self) -> None:
        self.assertEqual(self.lose_redis("flushed"), 0)

    def test_loses_nothing_while_workers_bridge_and_sweeper_are_killed(self) -> None:
        stack = self.stack.stack
        status = worker_kills.run(stack, kills=KILLS, jobs=KILL_JOBS, rate=KILL_RATE, seed=KILL_SEED, judges_time=False)
        self.assertEqual(status, 0)

    def lose_redis(self, fault: str) -> int:
        return redis_loss.run(self.stack.stack, fault=fault, jobs=2 * JOBS, rate=RATE, judges_time=False)


class OutagesOfALoneRedis(Outages, unittest.TestCase):
    topology = "standalone"

    def test_accepts_while_redis_is_stopped(self) -> None:
        self.assertEqual(self.accept_without_redis("stopped"), 0)

    def test_accepts_while_redis_is_frozen(self) -> None:
        self.assertEqual(self.accept_without_redis("paused"), 0)

    def test_webhooks_are_told_under_one_key_while_workers_are_killed(self) -> None:
        self.assertEqual(webhooks.run(self.stack.stack, jobs=WEBHOOK_JOBS, rate=RATE, seed=SEED), 0)


if __name__ == "__main__":
    unittest.main()
