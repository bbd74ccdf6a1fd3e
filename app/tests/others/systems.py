"""The systems of the table: what each runs, how it is told where things are, what it does not claim."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Final

from tests.others.script import WARM_UP
from tests.others.world import World, end
from tests.servers import acl
from tests.servers.process import private_directory
from tests.servers.sentinel import PRIMARY_NAME
from tests.servers.waiting import wait_until
from tests.servers.web import API_KEY
from tests.servers.worker import APP_ROOT, AppProcess, BridgeProcess, SweeperProcess, WorkerProcess

#: Jobs that each system runs at once.
SLOTS: Final = 2

#: Seconds after which what ended is started again, as a restart policy does.
RESTART_SECONDS: Final = 1.0
_START_SECONDS: Final = 180.0


@dataclass(frozen=True)
class System:
    """One column of the comparison."""

    name: str
    packages: tuple[str, ...]
    settings: str  #: in words, printed with the table
    module: str
    submit: str
    apps: tuple[str, ...] = ()
    command: tuple[str, ...] = ()  #: argv of a worker after the interpreter's `-m`
    workers: int = 1  #: processes with that argv
    stock_settings: str = "advised"
    mode: str = ""  #: NDVI_QUEUE_BACKEND, where the system is Holdfast
    on_redis: bool = True
    redis_database: int = 0


_CELERY: Final = ("celery", "-A", "tests.others.with_celery", "worker", f"--concurrency={SLOTS}", "--loglevel=WARNING")
_QUIET: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat")
_RETURNS: Final = "visibility_timeout 10 s, looked after each second"
_ADVISED: Final = f"acks_late, reject_on_worker_lost, prefetch 1, socket time-outs 5 s, retries; {_RETURNS}"

SYSTEMS: Final = (
    System(
        "celery-delay",
        ("celery", "kombu", "redis"),
        f"delay() in the transaction, settings of a first project; {_RETURNS}",
        "tests.others.with_celery",
        "submit_inside",
        command=_CELERY,
        stock_settings="default",
        redis_database=0,
    ),
    System(
        "celery-acks-late",
        ("celery", "kombu", "redis"),
        f"delay() in the transaction; {_ADVISED}",
        "tests.others.with_celery",
        "submit_inside",
        command=(*_CELERY, *_QUIET),
        redis_database=2,
    ),
    System(
        "celery-on-commit",
        ("celery", "kombu", "redis"),
        f"delay_on_commit(); {_ADVISED}",
        "tests.others.with_celery",
        "submit_on_commit",
        command=(*_CELERY, *_QUIET),
        redis_database=4,
    ),
    System(
        "dramatiq",
        ("dramatiq", "redis"),
        "send() on commit; heartbeat_timeout 5 s, maintenance by each tenth command, retries after 1 to 5 s",
        "tests.others.with_dramatiq",
        "submit",
        command=("dramatiq", "tests.others.with_dramatiq", "--processes", str(SLOTS), "--threads", "1"),
        redis_database=6,
    ),
    System(
        "procrastinate",
        ("procrastinate",),
        "defer() in the transaction; heartbeat each second, stalled after 5 s, looked for each 5 s, 10 attempts",
        "tests.others.with_procrastinate",
        "submit",
        apps=("procrastinate.contrib.django",),
        command=("django", "procrastinate", "worker"),
        on_redis=False,
    ),
    System(
        "django-tasks-db",
        ("django-tasks-db", "django-tasks"),
        "enqueue() in the transaction; as it comes: no retry, no look for dead workers",
        "tests.others.with_django_tasks",
        "submit",
        apps=("django.contrib.contenttypes", "django_tasks", "django_tasks_db"),
        command=("django", "db_worker", "--interval", "0.2"),
        workers=SLOTS,
        on_redis=False,
    ),
    System(
        "holdfast-celery",
        ("celery", "kombu", "redis"),
        "jobs.submit() in the transaction; as delivered, MODE=celery",
        "tests.others.with_holdfast",
        "submit",
        mode="celery",
        redis_database=8,
    ),
    System(
        "holdfast-stream",
        ("celery", "kombu", "redis"),
        "jobs.submit() in the transaction; as delivered, MODE=stream",
        "tests.others.with_holdfast",
        "submit",
        mode="stream",
        redis_database=10,
    ),
)


class OtherWorker(AppProcess):
    """A worker of another system. The warm-up request shows when it takes work."""

    def __init__(self, name: str, argv: Sequence[str], *, parent: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, parent=parent, environment=environment)
        self._argv = argv

    def role(self) -> Sequence[str]:
        return (sys.executable, "-m", *self._argv)

    def is_ready(self) -> bool:
        return True


@dataclass
class Running:
    """One system during one fault: its database, its processes and whoever starts them again, its client."""

    system: System
    world: World
    directory: Path
    seed: int

    def __post_init__(self) -> None:
        self.database = f"{self.directory.parent.name}_{self.directory.name}".replace("-", "_")
        self.history = private_directory(self.directory, "history")
        self.processes = self._made()
        self._stopping = threading.Event()
        self._keepers: list[threading.Thread] = []
        self._client: subprocess.Popen[str] | None = None
        self._client_log: IO[bytes] | None = None

    def start(self) -> None:
        """Until the warm-up request has its effect."""
        self.world.copy_database(template(self.system), self.database)
        for process in self.processes:
            process.start()
            keeper = threading.Thread(target=self._keep, args=(process,), daemon=True)
            keeper.start()
            self._keepers.append(keeper)
        self._start_client()
        wait_until(
            lambda: str(WARM_UP) in self.applied(),
            f"{self.system.name} did not run its first job",
            seconds=_START_SECONDS,
            every=0.5,
        )

    def begin(self, at: float) -> None:
        """The client begins its script at this Unix time."""
        assert self._client
        assert self._client.stdin
        self._client.stdin.write(f"{at}\n")
        self._client.stdin.flush()

    def submits(self) -> bool:
        """Whether the client is still at it."""
        return self._client is not None and self._client.poll() is None

    def stop_client(self) -> None:
        if self._client is not None:
            self._client.kill()
            self._client.wait()

    def stop(self) -> None:
        self._stopping.set()
        self.stop_client()
        self._kill()  # a keeper that waits for a start learns that it failed
        for keeper in self._keepers:
            keeper.join()
        self._kill()
        if self._client_log is not None:
            self._client_log.close()

    def applied(self) -> set[str]:
        """Requests with an effect."""
        with self.world.connect(self.database) as connection:
            return {str(row[0]) for row in connection.execute("SELECT DISTINCT request FROM others_effect").fetchall()}

    def logs(self) -> str:
        tails = [f"--- {process.name}\n{process.log_tail(30)}" for process in self.processes]
        log = self.directory / "client.log"
        return "\n".join([*tails, log.read_text(errors="replace")[-4000:] if log.exists() else ""])

    def _kill(self) -> None:
        for process in self.processes:
            end(process)

    def _made(self) -> list[AppProcess]:
        environment = environment_of(self.system, self.world, self.database, self.directory)
        environment["OTHERS_HISTORY"] = str(self.history)
        if not self.system.mode:
            return [
                OtherWorker(f"worker-{number}", self.system.command, parent=self.directory, environment=environment)
                for number in range(self.system.workers)
            ]
        loops: list[AppProcess] = [SweeperProcess(parent=self.directory, environment=environment)]
        if self.system.mode == "stream":
            loops.append(BridgeProcess(parent=self.directory, environment=environment))
        return [WorkerProcess("fast", parent=self.directory, environment=environment, concurrency=SLOTS), *loops]

    def _keep(self, process: AppProcess) -> None:
        """Starts it again when it has ended, as a restart policy does."""
        while not self._stopping.wait(RESTART_SECONDS):
            if not process.running:
                try:
                    process.start()
                except RuntimeError:
                    continue  # it ended while starting: what it needs is away

    def _start_client(self) -> None:
        self._client_log = (self.directory / "client.log").open("ab")
        environment = environment_of(self.system, self.world, self.database, self.directory)
        self._client = subprocess.Popen(
            (sys.executable, "-m", "tests.others.client", self.system.module, self.system.submit, str(self.seed)),
            cwd=APP_ROOT,
            env={**os.environ, **environment, "OTHERS_HISTORY": str(self.history)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._client_log,
            text=True,
        )
        bound = threading.Timer(_START_SECONDS, self._client.kill)
        bound.start()
        try:
            assert self._client.stdout
            if self._client.stdout.readline() != "ready\n":
                raise RuntimeError(f"the client of {self.system.name} ended, or was not ready in {_START_SECONDS:g} s")
        finally:
            bound.cancel()


def template(system: System) -> str:
    """Name of the database that is copied for each fault."""
    return "template_" + system.name.replace("-", "_")


def prepare(system: System, world: World, parent: Path) -> None:
    """Its migrated database."""
    world.create_database(template(system))
    directory = private_directory(parent, f"prepare-{system.name}")
    environment = environment_of(system, world, template(system), directory)
    command = ("migrate_and_seed",) if system.mode else ("migrate",)
    subprocess.run(
        (sys.executable, "-m", "django", *command, "--verbosity", "0"),
        cwd=APP_ROOT,
        env={**os.environ, **environment, "OTHERS_HISTORY": str(directory)},
        check=True,
        stdout=sys.stderr,
    )


def environment_of(system: System, world: World, database: str, directory: Path) -> dict[str, str]:
    common = {"DATABASE_URL": world.postgres.url_for(database)}
    if system.mode:
        return {
            **common,
            **{f"{name.upper()}_DIR": str(directory) for name in ("files", "scratch", "static")},
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DJANGO_SECRET_KEY": "only-for-the-comparison-and-long-enough-for-django-0123456789",
            "DOMAIN_APPS": "tests.others.holdfast",
            "REDIS_URL": world.redis.url.replace(f"/{PRIMARY_NAME}/0", f"/{PRIMARY_NAME}/{system.redis_database}"),
            "NDVI_QUEUE_BACKEND": system.mode,
            "HOLDFAST_API_KEY": API_KEY,
            "LOG_FORMAT": "json",
        }
    return {
        **common,
        "DJANGO_SETTINGS_MODULE": "tests.others.settings",
        "OTHERS_APPS": ",".join(system.apps),
        "STOCK_SETTINGS": system.stock_settings,
        "STOCK_SENTINELS": ",".join(f"{one.host}:{one.port}" for one in world.redis.sentinels),
        "STOCK_PRIMARY_NAME": PRIMARY_NAME,
        "STOCK_PASSWORD": acl.PASSWORDS["app"],
        "STOCK_DATABASE": str(system.redis_database),
    }


def versions(system: System) -> str:
    return " ".join(f"{package} {version(package)}" for package in system.packages)
