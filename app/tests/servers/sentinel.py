"""Three Redis nodes and three Sentinels on loopback, with the stack's timings."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import acl
from tests.servers.process import ServerProcess, find_binary, free_ports, hand_over, private_directory
from tests.servers.redis_server import RedisProcess
from tests.servers.waiting import wait_until

PRIMARY_NAME = "holdfast"

#: Lines of the stack's template that name its own ports and folders.
_REPLACED = ("port ", "bind ", "dir ", "sentinel announce-port ", "sentinel down-after-milliseconds ", "#")

#: Three times SENTINEL_DOWN_AFTER_MS: a node that a busy machine keeps waiting for two seconds is not dead, and no test
#: is about a failover that it did not ask for.
DOWN_AFTER_MS = 3000


#: What tests speed up, in milliseconds: how soon a Sentinel notices that a node came back (10 s), greets the others
#: (2 s) and acts again after it was frozen itself (30 s). Election keeps its real time.
FASTER = {"info-period": 500, "publish-period": 500, "tilt-period": 2000}


class SentinelProcess(ServerProcess):
    """One Sentinel; it rewrites its own configuration, so it has its own writable copy."""

    def __init__(self, *, parent: Path, port: int, name: str, binary: str, primary_port: int) -> None:
        super().__init__(name, directory=private_directory(parent, name), port=port)
        self.binary = binary
        self._write("users.acl", acl.render(acl.SENTINEL_TEMPLATE))
        self._write("sentinel.conf", self._configuration(primary_port))

    def command(self) -> Sequence[str]:
        return (find_binary(self.binary), str(self.directory / "sentinel.conf"), "--sentinel")

    def start(self) -> None:
        super().start()
        with self.client("operator") as client:
            client.execute_command("SENTINEL", "DEBUG", *(word for pair in FASTER.items() for word in pair))

    def client(self, user: str = "app") -> redis.Redis:
        """A plain client of one ACL user of the Sentinel."""
        return redis.Redis(
            host=self.host,
            port=self.port,
            username=user,
            password=acl.PASSWORDS[user],
            socket_timeout=20,
            socket_connect_timeout=20,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def is_ready(self) -> bool:
        with self.client("operator") as client:
            return bool(client.ping())

    def primary_port(self) -> int:
        """The port of the primary in this Sentinel's opinion."""
        with self.client() as client:
            address = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY_NAME)
            return int(address[1])

    def sees_everyone(self) -> bool:
        """True when it knows two replicas that are up and two other Sentinels, and has a quorum."""
        with self.client() as client:
            state = client.execute_command("SENTINEL", "MASTERS")[0]
            replicas = client.execute_command("SENTINEL", "REPLICAS", PRIMARY_NAME)
        healthy = [one for one in replicas if one["flags"] == "slave" and one["master-link-status"] == "ok"]
        return state["flags"] == "master" and int(state["num-other-sentinels"]) == 2 and len(healthy) == 2

    def _configuration(self, primary_port: int) -> str:
        """The stack's own template on loopback."""
        template = (acl.CONFIG / "sentinel" / "sentinel.conf.template").read_text()
        kept = "\n".join(line for line in template.splitlines() if not line.startswith(_REPLACED))
        password = acl.PASSWORDS["sentinel"]
        own = (
            f"port {self.port}",
            f"bind {self.host}",
            f"dir {self.directory}",
            f"aclfile {self.directory}/users.acl",
            f'sentinel auth-pass {PRIMARY_NAME} "{password}"',
            f'sentinel sentinel-pass "{password}"',
            f"sentinel down-after-milliseconds {PRIMARY_NAME} {DOWN_AFTER_MS}",
        )
        filled = kept.replace("@@PRIMARY@@ 6379", f"{self.host} {primary_port}")
        filled = filled.replace("@@NAME@@", PRIMARY_NAME).replace("@@ADDRESS@@", self.host)
        return "\n".join((*own[:4], filled, *own[4:])) + "\n"

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        hand_over(path)


class SentinelTopology:
    """`nodes` (three RedisProcess) and `sentinels` (three SentinelProcess); a failover may move the primary."""

    def __init__(self, *, parent: Path, binary: str = "redis-server") -> None:
        ports = free_ports(6)
        first = ports[0]
        self.nodes = [
            RedisProcess(
                parent=parent,
                port=port,
                name=f"redis-{number}",
                binary=binary,
                settings={} if port == first else {"replicaof": f"127.0.0.1 {first}"},
                files=("redis.conf", "replicated.conf"),
            )
            for number, port in enumerate(ports[:3], start=1)
        ]
        self.sentinels = [
            SentinelProcess(parent=parent, port=port, name=f"sentinel-{number}", binary=binary, primary_port=first)
            for number, port in enumerate(ports[3:], start=1)
        ]

    @property
    def url(self) -> str:
        """redis+sentinel://app:…@s1,s2,s3/holdfast/0?sentinel_username=app&sentinel_password=…"""
        password = quote(acl.PASSWORDS["app"], safe="")
        hosts = ",".join(f"{one.host}:{one.port}" for one in self.sentinels)
        query = f"sentinel_username=app&sentinel_password={password}"
        return f"redis+sentinel://app:{password}@{hosts}/{PRIMARY_NAME}/0?{query}"

    def start(self) -> None:
        """Start all six and wait until every Sentinel sees everyone (their hello takes ~2 s)."""
        for server in (*self.nodes, *self.sentinels):
            server.start()
        self.await_healthy()

    def stop(self) -> None:
        for server in (*self.sentinels, *self.nodes):
            server.stop()

    def heal(self) -> None:
        """Thaw and start whatever a test froze or killed, and wait until the topology is whole again."""
        for server in (*self.nodes, *self.sentinels):
            server.thaw()
            if not server.running:
                server.start()
        self.await_healthy()

    def await_healthy(self) -> None:
        """Wait until all Sentinels agree and replicas are in step."""
        wait_until(self._is_healthy, "the Sentinels did not agree on one primary with two replicas", seconds=120)

    @property
    def primary(self) -> RedisProcess:
        """The node that answers as primary and that most Sentinels name."""
        named = [port for one in self.sentinels if (port := _opinion(one)) is not None]
        elected = max(set(named), key=named.count)
        return next(node for node in self.nodes if node.port == elected)

    @property
    def replicas(self) -> list[RedisProcess]:
        primary = self.primary
        return [node for node in self.nodes if node is not primary]

    def await_new_primary(self, old: RedisProcess, *, seconds: float = 120.0) -> RedisProcess:
        """Wait until most Sentinels name another node and that node takes a write; returns it."""

        def moved() -> RedisProcess | None:
            candidate = self.primary
            return candidate if candidate is not old and candidate.takes_writes() else None

        found = wait_until(moved, f"no failover away from {old.name}", seconds=seconds)
        assert found is not None
        return found

    def flush(self) -> None:
        """Empty every database and forget the ACL logs."""
        self.primary.flush()
        for node in self.nodes:
            with node.operator() as client:
                client.acl_log_reset()
        for sentinel in self.sentinels:
            with sentinel.client("operator") as client:
                client.acl_log_reset()

    def denied(self) -> list[str]:
        """What any node's or Sentinel's ACL LOG holds, as sentences."""
        found = [f"{node.name}: {sentence}" for node in self.nodes for sentence in node.denied()]
        for sentinel in self.sentinels:
            with sentinel.client("operator") as client:
                found += [f"{sentinel.name}: {one['username']} {one['object']}" for one in client.acl_log()]
        return found

    def _is_healthy(self) -> bool:
        roles = sorted(node.role() for node in self.nodes)
        agreed = {one.primary_port() for one in self.sentinels}
        return (
            roles == ["master", "slave", "slave"]
            and len(agreed) == 1
            and all(one.sees_everyone() for one in self.sentinels)
            and self._good_replicas() == 2
        )

    def _good_replicas(self) -> int:
        """As the primary counts them before it takes a write: those that have acknowledged lately."""
        with self.primary.operator() as client:
            return int(client.info("replication")["min_slaves_good_slaves"])


def _opinion(sentinel: SentinelProcess) -> int | None:
    try:
        return sentinel.primary_port()
    except redis.RedisError:
        return None
