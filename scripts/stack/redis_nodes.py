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

REDIS_PORT = 6379
SENTINEL_PORT = 26379
#: What a Sentinel waits for an answer before it has seen the primary: config/sentinel/sentinel.conf.template.
STARTING_DOWN_AFTER_MS = 300_000
_MAJORITY = 2

#: Seconds that a node may take for a command; and for one of the looks that are taken again and again at nodes that may
#: be frozen.
ANSWER_SECONDS = 5.0
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class RedisNodes:
    """All six; in the standalone topology only redis-1 answers."""

    stack: Stack

    def address(self, node: str) -> str:
        return f"{self.stack.value('SUBNET_PREFIX')}.{(REDIS | SENTINELS)[node]}"

    def client(self, node: str, *, user: str = "operator", timeout: float = ANSWER_SECONDS) -> RespClient:
        """A connection as one of the ACL users. Raises OSError or RespError."""
        port = REDIS_PORT if node in REDIS else SENTINEL_PORT
        password = self.stack.value(f"REDIS_{user.upper()}_PASSWORD")
        return RespClient(self.address(node), port, user=user, password=password, timeout=timeout)

    def ask(self, node: str, *command: str, timeout: float = ANSWER_SECONDS) -> Reply:
        """One command as operator. Raises OSError or RespError."""
        with self.client(node, timeout=timeout) as client:
            return client.command(*command)

    def role(self, node: str) -> str:
        """`master`, `slave`, or "" when the node does not answer."""
        try:
            reply = self.ask(node, "ROLE", timeout=LOOK_SECONDS)
        except (OSError, RespError):
            return ""
        return str(reply[0]) if isinstance(reply, list) else ""

    def elected(self, *, timeout: float = LOOK_SECONDS) -> str:
        """The node that most Sentinels call primary, or "". `timeout`: seconds that each of them may take."""
        opinions = Counter(opinion for sentinel in SENTINELS if (opinion := self._opinion(sentinel, timeout)))
        address, votes = opinions.most_common(1)[0] if opinions else ("", 0)
        names = {self.address(node): node for node in REDIS}
        return names.get(address, "") if votes >= _MAJORITY else ""

    def node_of(self, address: str) -> str:
        """The name of the node at an address, or the address."""
        return next((node for node in REDIS | SENTINELS if self.address(node) == address), address)

    def info(self, node: str, section: str) -> dict[str, str]:
        """Fields of INFO; empty when the node does not answer."""
        try:
            text = str(self.ask(node, "INFO", section, timeout=LOOK_SECONDS))
        except (OSError, RespError):
            return {}
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def primaries(self) -> list[str]:
        return [node for node in REDIS if self.role(node) == "master"]

    def is_whole(self) -> bool:
        """One primary that all Sentinels name, two replicas in step, every Sentinel knows the others and judges."""
        return bool(self.leader_of_whole())

    def leader_of_whole(self) -> str:
        """The primary when the six are whole, as one look saw them; "" otherwise."""
        roles = {node: self.role(node) for node in REDIS}
        if sorted(roles.values()) != ["master", "slave", "slave"]:
            return ""
        leader = next(node for node, role in roles.items() if role == "master")
        opinions = {self._opinion(sentinel) for sentinel in SENTINELS}
        agree = opinions == {self.address(leader)} and all(map(self._sees_everyone, SENTINELS))
        return leader if agree else ""

    def replica(self, node: str, *, sentinel: str = "sentinel-1") -> dict[str, str]:
        """What a Sentinel knows of one replica; empty when it knows none of that address."""
        replies = self.ask(sentinel, "SENTINEL", "REPLICAS", PRIMARY_NAME)
        known = [_pairs(reply) for reply in replies] if isinstance(replies, list) else []
        return next((one for one in known if one["ip"] == self.address(node)), {})

    def _opinion(self, sentinel: str, timeout: float = LOOK_SECONDS) -> str:
        try:
            reply = self.ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY_NAME, timeout=timeout)
        except (OSError, RespError):
            return ""
        return str(reply[0]) if isinstance(reply, list) else ""

    def _sees_everyone(self, sentinel: str) -> bool:
        try:
            state = _pairs(self.ask(sentinel, "SENTINEL", "MASTER", PRIMARY_NAME, timeout=LOOK_SECONDS))
            replies = self.ask(sentinel, "SENTINEL", "REPLICAS", PRIMARY_NAME, timeout=LOOK_SECONDS)
        except (OSError, RespError):
            return False
        replicas = [_pairs(reply) for reply in replies] if isinstance(replies, list) else []
        in_step = [one for one in replicas if one["flags"] == "slave" and one["master-link-status"] == "ok"]
        sees = state["flags"] == "master" and state["num-other-sentinels"] == "2" and len(in_step) == len(REDIS) - 1
        return sees and int(state["down-after-milliseconds"]) < STARTING_DOWN_AFTER_MS


def _pairs(reply: Reply) -> dict[str, str]:
    items = [str(item) for item in reply] if isinstance(reply, list) else []
    return dict(zip(items[::2], items[1::2], strict=True))
