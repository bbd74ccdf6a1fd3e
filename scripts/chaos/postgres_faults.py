"""Faults of Postgres that leave its container alone: sessions ended, locks held, no connection left, no disk left."""

import socket
import struct
import threading
from contextlib import suppress
from typing import Final

from scripts.chaos.faults import Fault, restored
from scripts.chaos.plan import Step
from scripts.chaos.scene import SESSION_NAME, Scene
from scripts.stack.errors import StackError
from scripts.stack.waiting import wait_until

_PORT: Final = 5432
_PROTOCOL: Final = 196608  #: 3.0
_CONNECT_SECONDS: Final = 2.0
#: More than max_connections in config/postgres/postgresql.conf.
_MOST_CONNECTIONS: Final = 400

_END_ALL: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
"""
_END_OURS: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = :'name' AND pid <> pg_backend_pid();
"""
#: `rows`: as a backup or a report that locks what it reads; `table`: as a migration that takes its time. Without a row
#: to lock the session ends with an error.
_LOCKS: Final = {
    "row-locks": "SELECT 1 / count(*) FROM (SELECT FROM job WHERE state IN ('QUEUED', 'RUNNING') FOR UPDATE) AS held;",
    "table-lock": "LOCK TABLE job IN SHARE ROW EXCLUSIVE MODE;",
}
_HOLD: Final = """
SET application_name = '{name}';
BEGIN;
{lock}
SELECT pg_sleep({seconds:g});
COMMIT;
"""
_MODES: Final = {"row-locks": "RowShareLock", "table-lock": "ShareRowExclusiveLock"}
#: A session that waits for rows has the lock of their table already: only who sleeps has all.
_HELD: Final = """
SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE application_name = :'name' AND wait_event = 'PgSleep'
    AND relation = 'job'::regclass AND mode = :'mode' AND granted;
"""
_LOCK_SECONDS: Final = 5.0


#: Has Postgres's volume as well, and keeps it while Postgres is down: compose.chaos.yaml.
_HOLDER: Final = "postgres-volume"
_BALLAST: Final = "/var/lib/postgresql/data/ballast"
#: To the last page, and how much that was in MiB. dd ends with an error, as it should.
_FILL: Final = f"""
dd if=/dev/zero of={_BALLAST} bs=1M
dd if=/dev/zero of={_BALLAST} bs=4k oflag=append conv=notrunc
du -m {_BALLAST} | cut -f1
"""


class BackendsKilled(Fault):
    """Every session is ended by the server, in the middle of whatever it did."""

    def inject(self) -> None:
        ended = self.scene.truth.rows(_END_ALL)[0]
        if ended == "0":
            raise StackError("nobody had a session", fix="make ps")
        self.hit = f"{ended} sessions"


class LongTransaction(Fault):
    """Locks are held for some seconds."""

    is_taken_over = False

    def inject(self) -> None:
        script = _HOLD.format(name=SESSION_NAME, lock=_LOCKS[self.step.fault], seconds=self.step.lasts)
        threading.Thread(target=self._hold, args=(script,), daemon=True).start()
        mode = _MODES[self.step.fault]
        wait_until(
            lambda: self.scene.truth.rows(_HELD, name=SESSION_NAME, mode=mode) != ["0"],
            within=_LOCK_SECONDS,
            otherwise=f"{self.step.fault} got no lock",
        )

    def heal(self) -> None:
        end_sessions(self.scene)

    def _hold(self, script: str) -> None:
        with suppress(StackError):  # ended by its healing, or with Postgres
            self.scene.truth.rows(script)


def end_sessions(scene: Scene) -> None:
    """Ends what faults hold open in Postgres. Raises StackError while it does not answer."""
    scene.truth.rows(_END_OURS, name=SESSION_NAME)


class PoolExhausted(Fault):
    """Every connection that is left is taken by logins that never go on: the server lets each wait for a minute."""

    is_taken_over = False

    def __init__(self, scene: Scene, step: Step) -> None:
        super().__init__(scene, step)
        self._open: list[socket.socket] = []

    def inject(self) -> None:
        address = self._address()
        while len(self._open) < _MOST_CONNECTIONS:
            login = begun_login(address, self.scene.stack.value("POSTGRES_USER"), self.scene.stack.value("POSTGRES_DB"))
            if login is None:
                break
            self._open.append(login)
        if not self._open:
            raise StackError("no connection was left", fix="make ps")
        self.hit = f"{len(self._open)} connections"

    def heal(self) -> None:
        while self._open:
            self._open.pop().close()

    def _address(self) -> str:
        for container in self.scene.containers.inspect("postgres", running=True):
            for network in container["NetworkSettings"]["Networks"].values():
                return str(network["IPAddress"])
        raise StackError("Postgres does not run", fix="make ps")


def begun_login(address: str, user: str, database: str) -> socket.socket | None:
    """A connection that the server asks for a password; None when it has no more. Raises OSError."""
    words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database)) + b"\0"
    connection = socket.create_connection((address, _PORT), timeout=_CONNECT_SECONDS)
    try:
        connection.sendall(struct.pack("!ii", 8 + len(words), _PROTOCOL) + words)
        if connection.recv(1) == b"R":
            return connection
    except OSError:
        connection.close()
        raise
    connection.close()
    return None


class DiskFull(Fault):
    """Somebody else's file fills Postgres's volume: it refuses what needs a page, or panics and cannot start."""

    is_taken_over = False

    def inject(self) -> None:
        if not self.scene.containers.ids(_HOLDER, running=True):
            raise StackError(f"{_HOLDER} does not run", fix="make chaos-down")
        self.hit = f"{self.scene.containers.run_in(_HOLDER, 'sh', '-c', _FILL).strip()} MiB of ballast"

    def heal(self) -> None:
        drop_ballast(self.scene)
        restored(self.scene, "postgres")


def drop_ballast(scene: Scene) -> None:
    """Gives the volume back what a fault took of it. Raises StackError."""
    if scene.containers.ids(_HOLDER, running=True):
        scene.containers.run_in(_HOLDER, "rm", "-f", _BALLAST)
