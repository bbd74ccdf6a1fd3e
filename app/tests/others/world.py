"""The servers that every system shares: one Postgres, three Redis, three Sentinels under the stack's configuration."""

from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.servers.postgres import SETTINGS, PostgresProcess
from tests.servers.process import ServerProcess, free_port
from tests.servers.sentinel import DOWN_AFTER_MS, SentinelTopology
from tests.servers.waiting import wait_until

#: Seconds that a step of the comparison itself may take on a machine that has no time for it.
PATIENCE_SECONDS: Final = 60.0

#: Tables of each system's database; see `work`.
_SCHEMA: Final = """
    CREATE TABLE others_request (id uuid PRIMARY KEY);
    CREATE TABLE others_effect (request uuid NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE INDEX ON others_effect (request);
"""


def end(server: ServerProcess) -> None:
    """SIGKILL. A process needs time of a processor to end, too."""
    wait_until(lambda: (server.kill(),), f"{server.name} outlived SIGKILL", seconds=PATIENCE_SECONDS)


class World:
    """Starts and stops them. A system has databases of its own on both."""

    def __init__(self, parent: Path) -> None:
        self.postgres = PostgresProcess(parent=parent, port=free_port(), password="others")
        self.redis = SentinelTopology(parent=parent)

    def start(self) -> None:
        self.postgres.start()
        self.redis.start()

    def stop(self) -> None:
        self.redis.stop()
        self.postgres.stop()

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """For a look of our own. A Postgres that a busy machine lets wait is asked again."""
        return wait_until(
            lambda: self.postgres.connect(database), "Postgres takes no connection", seconds=PATIENCE_SECONDS
        )

    def create_database(self, name: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        with self.connect(name) as connection:
            connection.execute(_SCHEMA)

    def copy_database(self, source: str, name: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')

    def drop_database(self, name: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def elections(self) -> int:
        """How often Sentinel has made another node the primary; also when a machine too busy made it think so."""
        with self.redis.sentinels[0].client() as client:
            return int(client.execute_command("SENTINEL", "MASTERS")[0]["config-epoch"])

    def facts(self) -> dict[str, Any]:
        """What the figures rest on."""
        with self.connect("postgres") as connection:
            row = connection.execute("SHOW server_version").fetchone()
            assert row
        with self.redis.primary.operator() as client:
            settings = {**client.config_get("append*"), **client.config_get("min-replicas*")}
            redis = {"version": client.info("server")["redis_version"], **settings}
        kept = ("version", "appendonly", "appendfsync", "min-replicas-to-write", "min-replicas-max-lag")
        return {
            "postgres": {
                "version": str(row[0]).split()[0],
                "synchronous_commit": SETTINGS["synchronous_commit"],
                "fsync": SETTINGS["fsync"],
            },
            "redis": {name: redis[name] for name in kept} | {"down_after_ms": DOWN_AFTER_MS},
            "python": {name: version(name) for name in ("django", "psycopg")},
        }
