"""A Postgres 17 cluster of our own, with the stack's data format (builtin provider, C.UTF-8)."""

import pwd
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.servers.process import ServerProcess, find_binary, hand_over, private_directory, unprivileged_user

#: fsync is off: a test may lose its data with the machine, never with a process.
#: synchronous_commit stays on, because a promise rests on what a COMMIT means.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "150",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "log_min_duration_statement": "1000",
}


class PostgresProcess(ServerProcess):
    """One cluster with one superuser `holdfast` and one database `holdfast`."""

    #: Fast shutdown; SIGTERM would wait for every session to end.
    stop_signal = signal.SIGINT

    user = "holdfast"
    database = "holdfast"

    def __init__(self, *, parent: Path, port: int, password: str) -> None:
        super().__init__("postgres", directory=private_directory(parent, "postgres"), port=port)
        self.password = password

    @property
    def url(self) -> str:
        """postgresql://user:password@host:port/database"""
        return self.url_for(self.database)

    def url_for(self, database: str) -> str:
        return f"postgresql://{self.user}:{quote(self.password, safe='')}@{self.host}:{self.port}/{database}"

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        if not self.data_directory.exists():
            self._initdb()
            super().start()
            self._create_database()
        else:
            # After a SIGKILL the old pid stands in postmaster.pid; the server checks it and goes on.
            super().start()

    def command(self) -> Sequence[str]:
        options = [item for name, value in SETTINGS.items() for item in ("-c", f"{name}={value}")]
        return (find_binary("postgres"), "-D", str(self.data_directory), "-p", str(self.port), *options)

    def is_ready(self) -> bool:
        with self.connect("postgres"):
            return True

    def connect(self, database: str | None = None, *, seconds: int = 20) -> psycopg.Connection[tuple[object, ...]]:
        """A plain autocommit connection for a test's own look at the tables."""
        return psycopg.connect(self.url_for(database or self.database), autocommit=True, connect_timeout=seconds)

    def _initdb(self) -> None:
        secret = self.directory / "password"
        secret.write_text(self.password)
        hand_over(secret)
        user = unprivileged_user()
        subprocess.run(
            (
                *(find_binary("initdb"), "-D", str(self.data_directory), "-U", self.user),
                *("--pwfile", str(secret), "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8"),
            ),
            cwd=self.directory,
            check=True,
            capture_output=True,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
        )

    def _create_database(self) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{self.database}"')
