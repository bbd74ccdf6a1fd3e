"""One server with its children: start, stop, kill, freeze, thaw, restart."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import psutil

from tests.servers.waiting import wait_until

HOST = "127.0.0.1"

#: Ports of servers under test: each process of a parallel run has so many from here on.
FIRST_PORT = 12_000
PORTS_PER_PROCESS = 2_000

#: Where Debian keeps Postgres's own programs; they are not on PATH there.
EXTRA_PATH = ("/usr/lib/postgresql/17/bin",)


class BinaryMissing(RuntimeError):
    """A server program is not installed; the message says which and how to get it."""


def find_binary(name: str) -> str:
    """Absolute path of a server program, or BinaryMissing."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *EXTRA_PATH))
    found = shutil.which(name, path=path)
    if found is None:
        raise BinaryMissing(f"{name} is not installed here; run the tests in the test image: make test")
    return found


def free_port() -> int:
    """A loopback TCP port for one server; see `free_ports`."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """`count` ports that nobody listens on and that no later call in this run returns.

    They lie below what the kernel gives to outgoing connections, and each process of a parallel run has its own range:
    a server that was killed finds its port free when it starts again.
    """
    return list(islice(_PORTS, count))


def _own_ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST_PORT + worker * PORTS_PER_PROCESS
    return filter(_is_free, cycle(range(first, first + PORTS_PER_PROCESS)))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free, as servers see it
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


_PORTS: Final = _own_ports()


def unprivileged_user() -> str | None:
    """The account servers run as when we are root (Postgres refuses root), else None: keep our own."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise BinaryMissing("running as root without an account 'postgres' or 'nobody'; run as another user")


class ServerProcess:
    """A server and its children. Signals go to each of them by id: Postgres's backends lead sessions of their own."""

    #: What asks the server to end.
    stop_signal = signal.SIGTERM

    #: Seconds a start may take, on a machine that builds images at the same time.
    start_seconds = 120.0

    def __init__(self, name: str, *, directory: Path, port: int) -> None:
        self.name = name
        self.directory = directory
        self.port = port
        self.host = HOST
        self._process: subprocess.Popen[bytes] | None = None

    # What a subclass says about itself.

    def command(self) -> Sequence[str]:
        """The argv of the server, in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """True once the server answers; may raise while it does not listen."""
        raise NotImplementedError

    # Life.

    def start(self) -> None:
        """Start and wait until it answers (`start_seconds`), or raise with the end of its log."""
        user = unprivileged_user()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        self._await_ready()

    def restart(self) -> None:
        """Start again on the same port and data directory; kills it first if it runs."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """SIGKILL the server with its children, and wait until all are gone."""
        family = self.freeze()
        for process in family:
            _send(process, signal.SIGKILL)
        _gone, alive = psutil.wait_procs(family[1:], timeout=60)
        if self._process is not None:
            self._process.wait(timeout=60)
        if alive:
            raise RuntimeError(f"{self.name}: {len(alive)} children outlived SIGKILL by 60 s")

    def stop(self) -> None:
        """Ask the server itself, as Docker does; after 20 s kill it with its children."""
        self.thaw()
        if self._process is not None and self.running:
            self._process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=20)
        self.kill()

    def freeze(self) -> list[psutil.Process]:
        """SIGSTOP the server, then its children: sockets stay open, nobody answers. Returns all of them."""
        if not self.running:
            return []
        server = psutil.Process(self.pid)
        _send(server, signal.SIGSTOP)  # from now on it makes no more children
        children = server.children(recursive=True)
        for child in children:
            _send(child, signal.SIGSTOP)
        return [server, *children]

    def thaw(self) -> None:
        """SIGCONT the children, then the server."""
        if self.running:
            server = psutil.Process(self.pid)
            for process in (*server.children(recursive=True), server):
                _send(process, signal.SIGCONT)

    @property
    def running(self) -> bool:
        """True while the process exists (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        return self.directory / f"{self.name}.log"

    def log_tail(self, lines: int = 15) -> str:
        """The end of the server's own log, for a failure message."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _await_ready(self) -> None:
        def ready_or_dead() -> bool:
            return not self.running or self.is_ready()

        try:
            sentence = f"{self.name} did not answer on port {self.port}"
            wait_until(ready_or_dead, sentence, seconds=self.start_seconds)
        except AssertionError as error:
            self.kill()
            raise RuntimeError(f"{error}\n{self.log_tail()}") from None
        if not self.running:
            raise RuntimeError(f"{self.name} ended while starting:\n{self.log_tail()}")


def _send(process: psutil.Process, signum: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signum)


def private_directory(parent: Path, name: str) -> Path:
    """A fresh folder that belongs to the account the servers run as (mode 0700)."""
    directory = parent / name
    directory.mkdir(mode=0o700)
    hand_over(directory)
    return directory


def hand_over(path: Path) -> None:
    """Give a file or folder to the account the servers run as; does nothing unless we are root."""
    if user := unprivileged_user():
        shutil.chown(path, user=user, group=pwd.getpwnam(user).pw_gid)
