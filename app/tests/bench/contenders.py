"""The contenders: bare Celery, and Holdfast in both modes. Each has a database, a Redis database and processes of its
own; while one is measured the processes of the others are frozen.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.servers import Servers
from tests.servers import acl
from tests.servers.process import ServerProcess, private_directory
from tests.servers.waiting import wait_until
from tests.servers.web import API_KEY
from tests.servers.worker import APP_ROOT, AppProcess, BridgeProcess, WorkerProcess

STREAM: Final = "holdfast:jobs"
BARE_QUEUE: Final = "bare"

#: Worker processes of every contender.
WORKERS: Final = 2

#: Seconds after which work that does not end is given up.
_GIVE_UP_SECONDS: Final = 120.0


class SweeperProcess(AppProcess):
    """A sweeper."""

    def role(self) -> Sequence[str]:
        return (sys.executable, "manage.py", "run_sweeper")


class BareWorker(AppProcess):
    """A worker of bare Celery: `celery worker` as it comes, told the number of processes and to skip the gossip."""

    def role(self) -> Sequence[str]:
        flags = (f"--queues={BARE_QUEUE}", f"--concurrency={WORKERS}", "--hostname=bare@%h")
        without = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        return (sys.executable, "-m", "celery", "-A", "tests.bench.bare_celery", "worker", *flags, *without)


class Submitter:
    """The process of tests.bench.submitter."""

    def __init__(self, kind: str, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            (sys.executable, "-m", "tests.bench.submitter", kind),
            cwd=APP_ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answer()

    def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the submitter ended:\n{Path(self._log.name).read_text()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Contender:
    """Start, freeze, give work, see what is done."""

    kind: str
    #: Out: effects so far, Unix seconds of the last one.
    done_sql: str
    #: Out: Unix seconds of the effect of each id.
    ends_sql: str
    #: Emptied before each round.
    tables: tuple[str, ...]
    #: Redis lists that hold messages.
    lists: tuple[str, ...]

    def __init__(self, name: str, servers: Servers, *, parent: Path, redis_database: int) -> None:
        self.name = name
        folder = name.replace(" ", "_")
        self.database = f"{parent.name}_{folder}"  #: each group of measurements has contenders of its own
        self.servers = servers
        self.directory = private_directory(parent, folder)
        self.redis_database = redis_database
        self.workers: list[AppProcess] = []
        self.loops: list[AppProcess] = []

    def environment(self) -> dict[str, str]:
        return {"DATABASE_URL": self.servers.postgres.url_for(self.database)}

    def start(self) -> None:
        self.servers.postgres.create(self.database)
        with self.servers.operator(self.redis_database) as client:
            client.flushdb()
        self.prepare()
        self.observer = self.servers.postgres.observe(self.database)
        self.statements = self.servers.postgres.observe("postgres")
        for process in self.processes:
            process.start()
        self.submitter = Submitter(self.kind, self.environment(), self.directory / "submitter.log")

    def prepare(self) -> None:
        raise NotImplementedError

    def await_ready(self) -> None:
        """Until it would take work at full speed."""

    def stop(self) -> None:
        self.submitter.stop()
        for process in self.processes:
            process.kill()

    @property
    def processes(self) -> list[AppProcess]:
        return [*self.workers, *self.loops]

    @property
    def measured(self) -> list[ServerProcess]:
        return [*self.processes, self.servers.postgres, self.servers.redis]

    def halt_workers(self) -> None:
        """What executes stops; what accepts goes on."""
        for process in self.workers:
            process.freeze()

    def resume_workers(self) -> None:
        for process in self.workers:
            process.thaw()

    def freeze(self) -> None:
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        for process in self.processes:
            process.thaw()

    def empty(self) -> None:
        """No row and no message is left. Its processes must not be frozen: one of them may hold a lock."""
        self.await_rest()
        self.observer.execute("SET lock_timeout = '10s'")
        self.observer.execute(f"TRUNCATE {', '.join(self.tables)}")

    def drop_messages(self) -> None:
        """Throws away what was dispatched."""
        with self.servers.operator(self.redis_database) as client:
            client.delete(*self.lists)
            client.xtrim(STREAM, maxlen=0, approximate=False)

    def messages(self) -> int:
        """How many wait in Redis."""
        with self.servers.operator(self.redis_database) as client:
            return sum(client.llen(name) for name in self.lists) + client.xlen(STREAM)

    def done(self) -> tuple[int, float]:
        row = self.observer.execute(self.done_sql).fetchone()
        assert row
        return int(row[0]), float(row[1] or 0.0)

    def await_done(self, count: int) -> float:
        """Unix seconds of the last effect."""

        def all_done() -> bool:
            return self.done()[0] >= count

        wait_until(
            all_done, f"{self.name} did not finish {count} jobs: {self.done()}", seconds=_GIVE_UP_SECONDS, every=0.05
        )
        return self.done()[1]

    def await_rest(self) -> None:
        """Until its processes have nothing more to do: duplicates of hints are worked off too."""
        wait_until(
            lambda: self.messages() == 0,
            f"{self.name} did not empty its queues",
            seconds=_GIVE_UP_SECONDS,
            every=0.1,
        )

    def waiting(self) -> int:
        """Jobs that were submitted and not executed."""
        raise NotImplementedError

    def ends(self, ids: Sequence[str]) -> dict[str, float]:
        return {str(row[0]): float(row[1]) for row in self.observer.execute(self.ends_sql, (list(ids),)).fetchall()}


class Bare(Contender):
    """Bare Celery, one INSERT per job."""

    kind = "bare"
    done_sql = "SELECT count(*), extract(epoch FROM max(at)) FROM bare_effect"
    ends_sql = "SELECT id, extract(epoch FROM at) FROM bare_effect WHERE id = ANY(%s::uuid[])"
    tables = ("bare_effect",)
    lists = (BARE_QUEUE,)

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "BENCH_BROKER_URL": self.servers.redis_url(self.redis_database),
            "BENCH_QUEUE": BARE_QUEUE,
        }

    def prepare(self) -> None:
        with self.servers.postgres.observe(self.database) as connection:
            connection.execute("CREATE TABLE bare_effect (id uuid PRIMARY KEY, at timestamptz NOT NULL)")
            connection.execute("ALTER TABLE bare_effect OWNER TO holdfast")
        self.workers = [BareWorker("bare", parent=self.directory, environment=self.environment())]

    def waiting(self) -> int:
        return self.messages()


class Holdfast(Contender):
    """Worker, sweeper and, in stream mode, bridge, as compose runs them."""

    kind = "holdfast"
    done_sql = """
        SELECT (SELECT count(*) FROM probe_count),
               extract(epoch FROM (
                   SELECT finished_at FROM job WHERE finished_at IS NOT NULL AND thinned_at IS NULL
                   ORDER BY finished_at DESC LIMIT 1))
    """
    ends_sql = """
        SELECT job.id, extract(epoch FROM job.finished_at) FROM job JOIN probe_count ON probe_count.job_id = job.id
        WHERE job.id = ANY(%s::uuid[])
    """
    lists = tuple(f"fast{step}" for step in ("", "\x06\x163", "\x06\x166"))
    tables = ("job", "job_event", "probe_count", "dead_letter", "idempotency_key")

    def __init__(
        self,
        name: str,
        servers: Servers,
        *,
        parent: Path,
        redis_database: int,
        mode: str,
        settings: dict[str, str] | None = None,
    ) -> None:
        super().__init__(name, servers, parent=parent, redis_database=redis_database)
        self.mode = mode
        self.settings = settings or {}

    def environment(self) -> dict[str, str]:
        folders = {f"{name.upper()}_DIR": str(self.directory) for name in ("files", "scratch", "static")}
        return {
            **super().environment(),
            **folders,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DJANGO_SECRET_KEY": "only-for-the-bench-and-long-enough-for-django-0123456789",
            "REDIS_URL": self.servers.redis.bare_url.removesuffix("/0") + f"/{self.redis_database}",
            "REDIS_PASSWORD": acl.PASSWORDS["app"],
            "NDVI_QUEUE_BACKEND": self.mode,
            "HEARTBEAT_FILE": str(self.directory / "heartbeat"),
            "HOLDFAST_API_KEY": API_KEY,
            "LOG_FORMAT": "json",
            **self.settings,
        }

    def prepare(self) -> None:
        environment = self.environment()
        subprocess.run(
            (sys.executable, "manage.py", "migrate_and_seed", "--verbosity", "0"),
            cwd=APP_ROOT,
            env={**os.environ, **environment},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        # Each process has a heartbeat file of its own.
        shared = {name: value for name, value in environment.items() if name != "HEARTBEAT_FILE"}
        self.workers = [WorkerProcess("fast", parent=self.directory, environment=shared, concurrency=WORKERS)]
        self.loops = [SweeperProcess("sweeper", parent=self.directory, environment=shared)]
        if self.mode == "stream":
            self.workers.append(BridgeProcess(parent=self.directory, environment=shared))

    def waiting(self) -> int:
        row = self.observer.execute("SELECT count(*) FROM job WHERE state = 'QUEUED'").fetchone()
        assert row
        return int(row[0])

    def await_ready(self) -> None:
        """Until the sweeper has said how full the pools are, and web would believe it."""
        now = time.time()

        def swept() -> bool:
            row = self.observer.execute(
                "SELECT min(extract(epoch FROM at)) > %s AND NOT bool_or(behind) FROM pool_state", (now,)
            ).fetchone()
            return bool(row and row[0])

        wait_until(swept, f"the sweeper of {self.name} wrote no state of its pools", seconds=30.0, every=0.05)
        time.sleep(1.1)  # what the submitter has read of it is believed for a second
