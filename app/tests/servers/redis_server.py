"""One Redis (or Valkey) node under the stack's ACL."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import acl
from tests.servers.process import ServerProcess, find_binary, hand_over, private_directory

#: What differs from the stack's configuration: sizes, and no snapshots, because each FLUSHALL between two tests would
#: write and sync one. The AOF stays.
SETTINGS = {"maxmemory": "256mb", "repl-backlog-size": "8mb", "tcp-backlog": "128", "save": ""}


class RedisProcess(ServerProcess):
    """A Redis node on loopback. `url` is what the application gets, `operator()` may do everything."""

    def __init__(
        self,
        *,
        parent: Path,
        port: int,
        name: str = "redis",
        binary: str = "redis-server",
        settings: Mapping[str, str] | None = None,
        files: Sequence[str] = ("redis.conf",),
    ) -> None:
        super().__init__(name, directory=private_directory(parent, name), port=port)
        self.binary = binary
        self._write("users.acl", acl.render(acl.REDIS_TEMPLATE))
        # A copy: at a failover Sentinel makes the node rewrite its own configuration.
        self._write("node.conf", self._configuration(files, {**SETTINGS, **(settings or {})}))

    @property
    def url(self) -> str:
        """redis://app:<password>@127.0.0.1:<port>/0"""
        return f"redis://app:{quote(acl.PASSWORDS['app'], safe='')}@{self.host}:{self.port}/0"

    @property
    def bare_url(self) -> str:
        """The URL without its password, as the stack composes it from parts."""
        return f"redis://app@{self.host}:{self.port}/0"

    def client(self, user: str = "app", *, db: int = 0, seconds: float = 20.0) -> redis.Redis:
        """A plain client of one ACL user, without retries; close it or let the test end. `seconds` bound a command."""
        return redis.Redis(
            host=self.host,
            port=self.port,
            db=db,
            username=user,
            password=acl.PASSWORDS[user],
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def operator(self) -> redis.Redis:
        """The user of host-side tools: every command."""
        return self.client("operator")

    def flush(self) -> None:
        """Empty every database and forget what the ACL log held."""
        with self.operator() as client:
            client.flushall()
            client.acl_log_reset()

    def denied(self) -> list[str]:
        """What ACL LOG holds, as sentences; empty when no user was refused anything."""
        with self.operator() as client:
            return [
                f"{entry['username']}: {entry['reason']} {entry['object']} ({entry['context']})"
                for entry in client.acl_log()
            ]

    def role(self) -> str:
        """`master` or `slave`, in the words of Redis."""
        with self.operator() as client:
            return str(client.role()[0])

    def takes_writes(self) -> bool:
        """Whether it leads and has the replicas that it needs; asked with a write that changes nothing."""
        with self.operator() as client:
            client.delete("no-such-key")
            return True

    def command(self) -> Sequence[str]:
        return (find_binary(self.binary), str(self.directory / "node.conf"))

    def is_ready(self) -> bool:
        with self.client("operator") as client:
            return bool(client.ping())

    def _configuration(self, files: Sequence[str], settings: Mapping[str, str]) -> str:
        own = {
            "port": str(self.port),
            "bind": self.host,
            "dir": str(self.directory),
            "aclfile": str(self.directory / "users.acl"),
            "masterauth": acl.PASSWORDS["replication"],
        }
        lines = [line for name in files for line in (acl.CONFIG / "redis" / name).read_text().splitlines()]
        stack = "\n".join(line for line in lines if line.partition(" ")[0] not in own)  # `dir` is followed on reading
        return stack + "".join(f"\n{name} {_quoted(value)}" for name, value in {**settings, **own}.items()) + "\n"

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        hand_over(path)


def _quoted(value: str) -> str:
    """As written in a configuration file: words stay words (`replicaof host port`), an empty value shows."""
    return value if value and " " in value else f'"{value}"'
