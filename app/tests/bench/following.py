"""What it costs to follow the primary: a bare Celery app on Sentinel twice, with kombu's own connections and with ours,
over which a thread of each process watches.

CPU is that of the worker's processes alone, and its job does nothing: beside anything that a job does the share is
smaller. A pair of measurements follows one another closely, in changing order; their ratio is the figure.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from celery import Celery

from tests.servers.bare_worker import BareWorkerProcess, settings
from tests.servers.process import private_directory
from tests.servers.sentinel import SentinelTopology
from tests.servers.waiting import wait_until

type Record = dict[str, Any]

DRAIN: Final = "following: drain"
IDLE: Final = "following: idle"
STOCK: Final = "kombu's own"
OURS: Final = "ours, watched"

JOBS: Final = 4000
WARMUP_JOBS: Final = 500
#: Shorter than the 25 s after which kombu takes a connection that was frozen with its worker for dead.
IDLE_SECONDS: Final = 6.0
_GIVE_UP_SECONDS: Final = 120.0

_QUEUE: Final = "celery"
_FLAGS: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat")


class BareOnSentinel:
    """One of the two: frozen while it is not measured."""

    def __init__(self, name: str, topology: SentinelTopology, *, parent: Path, follows: bool) -> None:
        self.name = name
        self._topology = topology
        self.queue = f"{_QUEUE}-{int(follows)}"
        flags = (*_FLAGS, f"--queues={self.queue}", f"--hostname={self.queue}@%h")
        directory = private_directory(parent, self.queue)
        self.worker = BareWorkerProcess(topology, parent=directory, follows=follows, name=self.queue, flags=flags)
        self._sender = Celery("sender", set_as_current=False, fixups=())
        self._sender.conf.update(settings(topology))

    def start(self) -> None:
        self.worker.start()
        self.worker.freeze()

    def stop(self) -> None:
        self.worker.kill()
        self._sender.close()

    def warm_up(self) -> None:
        self._submit(WARMUP_JOBS)
        self._work_off()

    def drain(self) -> Iterator[Record]:
        """A queue that was filled before: CPU per job."""
        self._submit(JOBS)
        before, began = cpu_seconds(self.worker.pid), time.monotonic()
        self._work_off()
        took = time.monotonic() - began
        spent = cpu_seconds(self.worker.pid) - before
        yield {"shape": DRAIN, "per_second": JOBS / took, "cpu_us_per_job": 1e6 * spent / JOBS}

    def idle(self) -> Iterator[Record]:
        """An empty queue: CPU per second."""
        self.worker.thaw()
        before = cpu_seconds(self.worker.pid)
        time.sleep(IDLE_SECONDS)
        spent = cpu_seconds(self.worker.pid) - before
        self.worker.freeze()
        yield {"shape": IDLE, "cpu_ms_per_second": 1e3 * spent / IDLE_SECONDS}

    def _submit(self, count: int) -> None:
        with self._sender.connection_for_write() as connection, self._sender.amqp.Producer(connection) as producer:
            for _ in range(count):
                self._sender.send_task("bare.nothing", queue=self.queue, producer=producer)

    def _work_off(self) -> None:
        """The worker runs until nothing waits and nothing is held."""
        with self._topology.primary.operator() as client:
            self.worker.thaw()
            wait_until(
                lambda: not client.llen(self.queue) and not client.hlen("unacked"),
                f"{self.name} did not work off its queue",
                seconds=_GIVE_UP_SECONDS,
            )
        self.worker.freeze()


def round_of(pair: Sequence[BareOnSentinel], number: int) -> Iterator[tuple[BareOnSentinel, Iterator[Record]]]:
    """Who is measured, and its records; who was first is last in the next round."""
    order = pair if number % 2 else pair[::-1]
    for one in order:
        yield one, one.drain()
    for one in order:
        yield one, one.idle()


def cpu_seconds(pid: int) -> float:
    """CPU of every thread of a process and its children, in the kernel's nanoseconds: ticks of 10 ms are too coarse."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    threads = (path for one in family for path in Path(f"/proc/{one.pid}/task").glob("*/schedstat"))
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9
