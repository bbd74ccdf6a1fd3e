"""A Celery worker and a bridge as production runs them, over given Postgres and Redis."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dispatch.pools import POOLS, Shape
from tests.servers.process import ServerProcess, free_port, hand_over, private_directory

APP_ROOT = Path(__file__).resolve().parents[2]


class AppProcess(ServerProcess):
    """A role of the application image; ready when its heartbeat file exists."""

    start_seconds = 180.0

    def __init__(self, name: str, *, parent: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, directory=private_directory(parent, name), port=free_port())
        self.heartbeat_file = self.directory / "heartbeat"
        folders = {f"{folder.upper()}_DIR": self.directory / folder for folder in ("files", "scratch")}
        for folder in folders.values():
            folder.mkdir()
            hand_over(folder)
        self.environment = {
            **os.environ,
            "METRICS_PORT": str(self.port),
            "HEARTBEAT_FILE": str(self.heartbeat_file),
            "LOG_FORMAT": "console",
            **{variable: str(folder) for variable, folder in folders.items()},
            **environment,
        }

    def role(self) -> Sequence[str]:
        """The argv as compose has it."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        assignments = [f"{name}={value}" for name, value in self.environment.items()]
        return ("env", "-C", str(APP_ROOT), *assignments, *self.role())

    def start(self) -> None:
        self.heartbeat_file.unlink(missing_ok=True)
        super().start()

    def is_ready(self) -> bool:
        return self.heartbeat_file.exists()

    def terminate(self, *, seconds: float = 120.0) -> int:
        """SIGTERM to the main process alone, as Docker sends it; returns its exit status."""
        assert self._process is not None
        os.kill(self.pid, signal.SIGTERM)
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not stop within {seconds:g} s:\n{self.log_tail(40)}") from None


class WorkerProcess(AppProcess):
    """A worker of one pool, with the flags of compose."""

    def __init__(
        self, pool: str, *, parent: Path, environment: Mapping[str, str], name: str = "", concurrency: int | None = None
    ) -> None:
        super().__init__(name or f"worker-{pool}", parent=parent, environment=environment)
        self.pool = POOLS[pool]
        self.concurrency = concurrency or self.pool.concurrency
        if self.pool.shape is Shape.PREFORK:
            self.environment["PROMETHEUS_MULTIPROC_DIR"] = str(self.directory / "prometheus")

    def role(self) -> Sequence[str]:
        flags = (f"--queues={self.pool.queue}", f"--pool={self.pool.shape}", f"--concurrency={self.concurrency}")
        without = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        return (
            *self.program(),
            "-A",
            "project",
            "worker",
            *flags,
            f"--hostname={self.pool.name}@%h",
            *without,
            "-lINFO",
        )

    def program(self) -> Sequence[str]:
        return (sys.executable, "-m", "celery")


class ImpatientWorkerProcess(WorkerProcess):
    """A worker whose warm stop may take one second instead of 25."""

    def program(self) -> Sequence[str]:
        patch = "import worker.handback; worker.handback.WARM_STOP_SECONDS = 1.0"
        setup = "import project.celery, django; django.setup()"
        return (sys.executable, "-c", f"{setup}; {patch}; from celery.__main__ import main; main()")


class BriefWorkerProcess(WorkerProcess):
    """A worker whose leases last four seconds, and whose attempts count as leaked after three."""

    def program(self) -> Sequence[str]:
        pool = f"dispatch.pools.POOLS[{self.pool.name!r}]"
        limits = {"lease_seconds": 4, "hard_limit_seconds": 3}
        patch = "; ".join(f"object.__setattr__({pool}, {name!r}, {value})" for name, value in limits.items())
        # Before the setup, which imports statements that hold the lease.
        setup = f"import project.celery, dispatch.pools; {patch}; import django; django.setup()"
        return (sys.executable, "-c", f"{setup}; from celery.__main__ import main; main()")


class SweeperProcess(AppProcess):
    """A sweeper."""

    def __init__(self, *, parent: Path, environment: Mapping[str, str], name: str = "sweeper") -> None:
        super().__init__(name, parent=parent, environment=environment)

    def role(self) -> Sequence[str]:
        return (sys.executable, "manage.py", "run_sweeper")


class BridgeProcess(AppProcess):
    """A bridge."""

    def __init__(self, *, parent: Path, environment: Mapping[str, str], name: str = "bridge-1") -> None:
        super().__init__(name, parent=parent, environment={**environment, "BRIDGE_CONSUMER_NAME": name})

    def role(self) -> Sequence[str]:
        return (sys.executable, "manage.py", "run_bridge")
