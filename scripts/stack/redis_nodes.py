"""The Redis and Sentinel nodes of one stack, as seen from the host: who leads, is everybody there.

The host reaches the nodes by their static addresses, as user `operator`.
"""

from collections import Counter
from dataclasses import dataclass

from scripts.stack.deployment import Stack
from scripts.stack.resp import Reply, RespClient, RespError

#: Last number of each node's address.
REDIS = {"redis-1": 11, "redis-2": 12, "redis-3": 13}
SENTINELS = {"sentinel-1": 21, "sentinel-2": 22, "sentinel-3": 23}
PRIMARY_NAME = "holdfast"

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
_MAJORITY = 2


@dataclass(frozen=True)
class RedisNodes:
    """All six; in the standalone topology only redis-1 answers."""

    stack: Stack

    def address(self, node: str) -> str:
        return f"{self.stack.value('SUBNET_PREFIX')}.{(REDIS | SENTINELS)[node]}"

    def client(self, node: str, *, user: str = "operator", timeout: float = 1.0) -> RespClient:
        """A connection as one of the ACL users. Raises OSError or RespError."""
        port = _REDIS_PORT if node in REDIS else _SENTINEL_PORT
        password = self.stack.value(f"REDIS_{user.upper()}_PASSWORD")
        return RespClient(self.address(node), port, user=user, password=password, timeout=timeout)

    def ask(self, node: str, *command: str) -> Reply:
        """One command as operator. Raises OSError or RespError."""
        with self.client(node) as client:
            return client.command(*command)

    def role(self, node: str) -> str:
        """`master`, `slave`, or "" when the node does not answer."""
        try:
            reply = self.ask(node, "ROLE")
        except (OSError, RespError):
            return ""
        return str(reply[0]) if isinstance(reply, list) else ""

    def elected(self) -> str:
        """The node that most Sentinels call primary, or ""."""
        opinions = Counter(opinion for sentinel in SENTINELS if (opinion := self._opinion(sentinel)))
        address, votes = opinions.most_common(1)[0] if opinions else ("", 0)
        names = {self.address(node): node for node in REDIS}
        return names.get(address, "") if votes >= _MAJORITY else ""

    def primaries(self) -> list[str]:
        return [node for node in REDIS if self.role(node) == "master"]

    def is_whole(self) -> bool:
        """One primary, the one that all Sentinels name, two replicas in step, every Sentinel knows the other two."""
        roles = [self.role(node) for node in REDIS]
        if sorted(roles) != ["master", "slave", "slave"]:
            return False
        opinions = {self._opinion(sentinel) for sentinel in SENTINELS}
        return opinions == {self.address(self.primaries()[0])} and all(map(self._sees_everyone, SENTINELS))

    def replica(self, node: str, *, sentinel: str = "sentinel-1") -> dict[str, str]:
        """What a Sentinel knows of one replica; empty when it knows none of that address."""
        replies = self.ask(sentinel, "SENTINEL", "REPLICAS", PRIMARY_NAME)
        known = [_pairs(reply) for reply in replies] if isinstance(replies, list) else []
        return next((one for one in known if one["ip"] == self.address(node)), {})

    def _opinion(self, sentinel: str) -> str:
        try:
            reply = self.ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY_NAME)
        except (OSError, RespError):
            return ""
        return str(reply[0]) if isinstance(reply, list) else ""

    def _sees_everyone(self, sentinel: str) -> bool:
        try:
            state = _pairs(self.ask(sentinel, "SENTINEL", "MASTER", PRIMARY_NAME))
            replies = self.ask(sentinel, "SENTINEL", "REPLICAS", PRIMARY_NAME)
        except (OSError, RespError):
            return False
        replicas = [_pairs(reply) for reply in replies] if isinstance(replies, list) else []
        in_step = [one for one in replicas if one["flags"] == "slave" and one["master-link-status"] == "ok"]
        return state["flags"] == "master" and state["num-other-sentinels"] == "2" and len(in_step) == len(REDIS) - 1


def _pairs(reply: Reply) -> dict[str, str]:
    items = [str(item) for item in reply] if isinstance(reply, list) else []
    return dict(zip(items[::2], items[1::2], strict=True))
