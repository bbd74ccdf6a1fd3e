"""What a handler gets and what it gives back. Knows no database."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from uuid import UUID

from jobs.errors import Stopped

#: The step of a job's webhook; no follow-up may be called so.
WEBHOOK_STEP: Final = "webhook"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that the handler stored under `JobContext.file_key(name)`; the fenced finish names it in the row."""

    name: str
    key: str
    media_type: str
    bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A job that comes into being with the finish of its parent, or not at all. `step` is unique per parent."""

    step: str
    kind: str
    params: Mapping[str, Any]
    farm_id: str | None = None  #: None = the parent's
    priority: str | None = None  #: None = the parent's

    def __post_init__(self) -> None:
        if self.step == WEBHOOK_STEP:
            raise ValueError(f"step {self.step!r} is that of the job's own webhook: call the step something else")


@dataclass(frozen=True, slots=True)
class Done:
    """A successful attempt. Effects run inside the fenced finish transaction and nowhere else."""

    result: Mapping[str, Any] = field(default_factory=dict)
    effects: Sequence[Callable[[], None]] = ()
    follow_ups: Sequence[FollowUp] = ()
    files: Sequence[StoredFile] = ()


@dataclass(frozen=True, slots=True)
class JobContext:
    """One attempt, as its handler sees it. Times are `time.monotonic()` of this machine."""

    id: UUID
    root_id: UUID  #: key of external effects: (root_id, effect), never the attempt
    kind: str
    owner: str
    farm_id: str
    pool: str
    priority: int
    attempt: int  #: from 1
    max_attempts: int
    lease_token: int
    params: Mapping[str, Any]
    callback_url: str
    traceparent: str
    deadline: float  #: monotonic seconds at which the attempt has failed (the pool's hard limit)
    _is_stopped: Callable[[], bool] = field(default=lambda: False, repr=False)

    def file_key(self, name: str) -> str:
        """Storage key that only this attempt uses: a stale attempt cannot overwrite its successor's file."""
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"file name {name!r}: use a plain name without slashes")
        return f"jobs/{self.id}/{self.lease_token}/{name}"

    def seconds_left(self) -> float:
        """Seconds until the deadline; pass it as the timeout of every call that can block."""
        return max(0.0, self.deadline - time.monotonic())

    def check_stopped(self) -> None:
        """Call between steps of long work. Raises Stopped when the lease was lost or the time is over."""
        if self._is_stopped():
            raise Stopped(f"job {self.id}: the lease of attempt {self.attempt} was lost")
        if self.seconds_left() == 0.0:
            raise Stopped(f"job {self.id}: attempt {self.attempt} ran past its limit")
