"""How counts of several processes become one scrape.

A prefork pool is one parent and children that come and go. Each writes to a memory-mapped file named after its place in
the pool, never after its process id: a new child goes on in its predecessor's file, so files and series do not grow.
The parent serves them all. Every other role is one process with threads and keeps plain values (and exemplars).

Chosen by `PROMETHEUS_MULTIPROC_DIR`, which only the prefork workers have. The first process to import the catalogue
takes the directory and wipes it; a process that finds it taken (`docker exec … manage.py`) keeps plain values
instead of writing into a worker's files.
"""

import fcntl
import inspect
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any, Final

from prometheus_client import REGISTRY, CollectorRegistry, ProcessCollector, values
from prometheus_client.multiprocess import MultiProcessCollector

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_PARENT: Final = "parent"
_LOCK_NAME: Final = "owner.lock"


class _Ownership:
    """The directory this process took; `pid` tells the parent from its forks."""

    directory: Path | None = None
    pid: int = 0
    lock_file: int = -1


def choose_value_class() -> None:
    """Decides, once and before the first metric exists, where values live."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if not directory or not _take(Path(directory)):
        values.ValueClass = values.MutexValue
        return
    values.ValueClass = values.MultiProcessValue(process_identifier=_place_in_pool)  # type: ignore[no-untyped-call]
    _make_forks_safe(values.ValueClass)


def directory() -> Path | None:
    """The directory of this process's pool; None where values are plain."""
    return _Ownership.directory


def scrape_registry() -> CollectorRegistry:
    """What to serve: the whole pool in a prefork worker, this process everywhere else."""
    if _Ownership.directory is None:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(_Ownership.directory))  # type: ignore[no-untyped-call]
    ProcessCollector(registry=registry)
    return registry


def _take(path: Path) -> bool:
    path.mkdir(parents=True, exist_ok=True)
    lock_file = os.open(path / _LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock_file)
        return False
    for old in path.glob("*.db"):
        old.unlink()
    # Forks inherit the descriptor and with it the lock: a child that outlives its parent still owns its file.
    _Ownership.directory, _Ownership.pid, _Ownership.lock_file = path, os.getpid(), lock_file
    return True


def _place_in_pool() -> str:
    """`parent`, or `child<index>`. Two live processes never share it; a replacement child inherits it."""
    if os.getpid() == _Ownership.pid:
        return _PARENT
    from billiard.process import current_process  # only workers fork, and only they have it loaded

    index = getattr(current_process(), "index", None)
    return f"child{index}" if index is not None else f"stray{os.getpid()}"


def _make_forks_safe(value_class: type[Any]) -> None:
    """Holds every metric lock across a fork.

    A fork copies a lock in the state another thread left it in; a child that inherits a taken one waits for ever at its
    first count. The library's one lock over all values is a closure variable, hence the look inside.
    """
    values_lock: Lock = inspect.getclosurevars(value_class.inc).nonlocals["lock"]
    held = ExitStack()

    def hold() -> None:
        # Metric before value: the order in which Counter.labels() takes them.
        for lock in (*_metric_locks(), values_lock):
            held.enter_context(lock)

    release: Callable[[], None] = held.close
    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=release)


def _metric_locks() -> list[Lock]:
    collectors = list(REGISTRY._collector_to_names)  # the registry offers no public list
    return [collector._lock for collector in collectors if hasattr(collector, "_lock")]
