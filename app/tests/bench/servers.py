"""Postgres and Redis under the stack's own configuration, their data on a disk: a commit is as slow as it really is."""

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import redis

from tests.servers import acl
from tests.servers.postgres import PostgresProcess
from tests.servers.process import find_binary, free_ports
from tests.servers.redis_server import RedisProcess

#: The role of our own looks, so that what the application asks can be told from them.
OBSERVER = "bench"


class BenchPostgres(PostgresProcess):
    """The stack's postgresql.conf (fsync and synchronous_commit on), and the counters of statements beside it."""

    def command(self) -> Sequence[str]:
        own = {
            "config_file": str(acl.CONFIG / "postgres" / "postgresql.conf"),
            "listen_addresses": self.host,
            "unix_socket_directories": "",
            "shared_preload_libraries": "pg_stat_statements",
        }
        options = [item for name, value in own.items() for item in ("-c", f"{name}={value}")]
        return (find_binary("postgres"), "-D", str(self.data_directory), "-p", str(self.port), *options)

    def start(self) -> None:
        super().start()
        with self.connect("postgres") as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            connection.execute(f"CREATE ROLE {OBSERVER} SUPERUSER LOGIN PASSWORD 'bench'")

    def create(self, database: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    def observe(self, database: str) -> psycopg.Connection[Any]:
        """An autocommit connection whose statements are not counted and may take minutes."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=OBSERVER,
            password="bench",
            dbname=database,
            options="-c statement_timeout=0",
            autocommit=True,
        )


class Servers:
    """One Postgres and one Redis for every contender."""

    def __init__(self, disk: Path) -> None:
        postgres_port, redis_port = free_ports(2)
        self.postgres = BenchPostgres(parent=disk, port=postgres_port, password="bench")
        # As redis-1 of the stack: 65 % of its 512 MiB, snapshots too.
        self.redis = RedisProcess(
            parent=disk,
            port=redis_port,
            settings={"maxmemory": "333mb", "save": "3600 1 300 1000 60 100000"},
        )

    def start(self) -> None:
        self.postgres.start()
        self.redis.start()

    def stop(self) -> None:
        self.redis.stop()
        self.postgres.stop()

    def redis_url(self, database: int) -> str:
        return self.redis.url.removesuffix("/0") + f"/{database}"

    def operator(self, database: int) -> redis.Redis:
        return self.redis.client("operator", db=database)

    def facts(self) -> dict[str, Any]:
        """What the figures rest on."""
        with self.postgres.observe("postgres") as connection:
            names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
            settings = {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in names}  # type: ignore[index]
        with self.operator(0) as client:
            version = client.info("server")["redis_version"]
            redis_settings = {**client.config_get("append*"), **client.config_get("maxmemory*")}
        kept = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
        return {
            "postgres": settings,
            "redis": {"version": version, **{name: redis_settings[name] for name in kept}},
            "fdatasync_ms": fdatasync_ms(self.postgres.directory),
        }


def fdatasync_ms(folder: Path, *, times: int = 300) -> dict[str, float]:
    """Milliseconds of an 8 KiB write with fdatasync, as a commit does it, on the disk of Postgres's data."""
    path, block, seconds = folder / "fdatasync", os.urandom(8192), []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            file.seek(0)
            began = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    path.unlink()
    ordered = sorted(seconds)
    return {"p50": 1000 * statistics.median(ordered), "p99": 1000 * ordered[int(0.99 * times)]}
