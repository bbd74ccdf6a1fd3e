"""The application's user can write in both topologies, and only Sentinel's nodes ask for a replica."""

import unittest

from scripts.stack.redis_nodes import REDIS
from scripts.stack.resp import RespError
from scripts.stack.waiting import wait_until
from scripts.tests.stack import surroundings
from scripts.tests.stack.surroundings import SIX, Surroundings


def write(stack: Surroundings, node: str) -> str:
    """The node's answer to a write of the application: OK, or the refusal."""
    with stack.nodes.client(node, user="app") as client:
        try:
            return str(client.command("SET", "written-by-a-test", "1"))
        except RespError as error:
            return str(error)


class Writes(unittest.TestCase):
    def setUp(self) -> None:
        self.stack = surroundings.create(topology="standalone")
        self.addCleanup(lambda: self.stack.remove())

    def test_a_lone_node_takes_writes_and_a_lone_node_beside_sentinels_does_not(self) -> None:
        self.stack.up(["redis-1"])
        self.assertEqual(write(self.stack, "redis-1"), "OK")
        self.assertEqual(self.stack.nodes.ask("redis-1", "CONFIG", "GET", "min-replicas-to-write"), MIN_REPLICAS_0)

        self.stack = self.stack.with_topology("sentinel")
        self.stack.up(SIX)
        primary = self.stack.await_whole()
        self.assertEqual(write(self.stack, primary), "OK")
        for node in set(REDIS) - {primary}:
            self.assertIn("READONLY", write(self.stack, node))

        self.stack.containers.kill(*(set(REDIS) - {primary}))
        wait_until(
            lambda: "NOREPLICAS" in write(self.stack, primary),
            within=60,  # max-lag 2 in whole seconds, recomputed once a second
            otherwise="a primary without replicas goes on taking writes",
        )

        self.stack.down()
        self.stack = self.stack.with_topology("standalone")
        self.stack.up(["redis-1"])
        self.assertEqual(write(self.stack, "redis-1"), "OK")

    def test_nobody_is_let_in_without_a_password_and_the_application_cannot_flush(self) -> None:
        self.stack.up(["redis-1"])
        with self.stack.nodes.client("redis-1", user="app") as client:
            for refused in (("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("ACL", "LIST")):
                with self.subTest(command=refused), self.assertRaisesRegex(RespError, "NOPERM"):
                    client.command(*refused)
        users = self.stack.nodes.ask("redis-1", "ACL", "LIST")
        assert isinstance(users, list)
        self.assertTrue(str(users).count("user default off"), "the default user is on")
        self.assertEqual(
            sorted(str(user).split()[1] for user in users),
            ["app", "default", "exporter", "health", "operator", "replication", "sentinel"],
        )


MIN_REPLICAS_0 = ["min-replicas-to-write", "0"]

if __name__ == "__main__":
    unittest.main()
