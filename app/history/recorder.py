"""The file of one process, and operations that begin and end."""

import itertools
import json
import os
import secrets
import socket
import sys
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

import structlog

#: What an event says beside its type, operation, actor and times: job, gen, token, reason, …
type Members = Mapping[str, object]

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC

_log = structlog.get_logger(__name__)


class HistoryNotWritable(Exception):
    """HISTORY_DIR cannot be written: give it to this user, or set HOLDFAST_HISTORY=0."""


class Recorder:
    """Appends to `<folder>/<actor>.jsonl`; thread-safe, and a fork writes to a file of its own.

    Each call is one write(2) to a file opened with O_APPEND: what was written outlives a SIGKILL of the process, and no
    half line is followed by another. A write that fails is logged and dropped: the job goes on.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HistoryNotWritable(f"{HistoryNotWritable.__doc__} ({error})") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise HistoryNotWritable(f"{HistoryNotWritable.__doc__} ({folder})")
        self._folder: Final = folder
        self._mine = _Mine()
        _recorders.add(self)

    @property
    def actor(self) -> str:
        """The name of this process in its events."""
        return self._mine.actor

    def note(self, type_: str, op: str, events: Iterable[Members], *, call: int | None = None) -> None:
        """One line for each of `events`, in one write."""
        head = {"type": type_, "op": op, "actor": self.actor, "mono": time.monotonic(), "wall": time.time()}
        if call is not None:
            head["call"] = call
        lines = [json.dumps({**head, **event}, default=str, separators=(",", ":")) + "\n" for event in events]
        if lines:
            self._write("".join(lines).encode())

    def call(self, op: str, events: Iterable[Members]) -> "Call":
        """Notes that an operation on these jobs begins."""
        begun = list(events)
        number = next(self._mine.calls)
        self.note("invoke", op, begun, call=number)
        return Call(self, op, number, begun)

    def close(self) -> None:
        """Closes the file. A later event opens another."""
        mine, self._mine = self._mine, _Mine()
        mine.close()

    def _write(self, lines: bytes) -> None:
        try:
            written = os.write(self._mine.file(self._folder), lines)
        except OSError as error:
            _log.error("an event was not recorded", error=repr(error))
            return
        if written < len(lines):  # a disk that is full for a moment: nothing may follow the half line
            _log.error("an event was recorded in part", bytes=len(lines), written=written)
            self.close()

    def _forget(self) -> None:
        """In a fork: the file stays the parent's, and its lock may be held by a thread that is not here."""
        self._mine = _Mine()


class Call:
    """An operation that has begun. Each of its jobs ends as `ok`, `fail` or, should nobody say, `info`.

    Leaving it as a context ends what is left, also by an exception: a call without an answer may have taken place.
    """

    def __init__(self, recorder: Recorder, op: str, number: int, begun: list[Members]) -> None:
        self._recorder, self._op, self._number = recorder, op, number
        self._open = {event["job"]: event for event in begun}

    def ok(self, job: object, **members: object) -> None:
        """It took place."""
        self._end("ok", job, members)

    def fail(self, job: object, **members: object) -> None:
        """It did not take place."""
        self._end("fail", job, members)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        reason = {"reason": kind.__name__} if kind is not None else {}
        self._recorder.note("info", self._op, [{**event, **reason} for event in self._open.values()], call=self._number)

    def _end(self, type_: str, job: object, members: Members) -> None:
        begun = self._open.pop(job, {"job": job})
        self._recorder.note(type_, self._op, [{**begun, **members}], call=self._number)


@dataclass
class _Mine:
    """What one process has. Its name is never another's: a container that restarts keeps its host name and may get the
    same pid."""

    actor: str = field(default_factory=lambda: f"{_role()}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}")
    calls: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    lock: Lock = field(default_factory=Lock)
    opened: int | None = None

    def file(self, folder: Path) -> int:
        """Opened at the first event: most processes have none."""
        with self.lock:
            if self.opened is None:
                self.opened = os.open(folder / f"{self.actor}.jsonl", _APPEND, 0o644)
            return self.opened

    def close(self) -> None:
        with self.lock:
            if self.opened is not None:
                os.close(self.opened)
            self.opened = None


_recorders: Final[weakref.WeakSet[Recorder]] = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in _recorders:
        recorder._forget()


os.register_at_fork(after_in_child=_after_fork)


def _role() -> str:
    """What this process is, by its command line: `manage.py run_bridge`, `celery … --queues=fast`, `gunicorn …`."""
    for word in sys.argv[1:]:
        for prefix, role in (("run_", ""), ("--queues=", "worker-")):
            if word.startswith(prefix):
                return role + word.removeprefix(prefix)
    return Path(sys.argv[0]).stem or "python"
