"""Events and rows, laid together by job."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scripts.checker.database import Database, Job
from scripts.checker.history import Event


class Finding(NamedTuple):
    """One broken promise. `about` is the job, or what else it is about."""

    defect: str
    about: str
    what: str


@dataclass(slots=True)
class Life:
    """Everything that is known of one job, each in the order of time."""

    id: str
    row: Job | None = None
    events: list[Event] = field(default_factory=list)
    steps: Sequence[Mapping[str, Any]] = ()
    effects: Sequence[Mapping[str, Any]] = ()

    def all(self, type_: str, *ops: str) -> list[Event]:
        """Events of one type and some operations."""
        return [event for event in self.events if event.type == type_ and event.op in ops]


@dataclass(slots=True)
class Evidence:
    """What the rules look at."""

    history: Sequence[Event]
    database: Database
    lives: dict[str, Life]
    asked: Mapping[str, Sequence[Event]]  #: what came of the accepts of each request
    slack: float  #: seconds by which two times of the database may be out of order


class _Lives(dict[str, Life]):
    """Makes a life when it is first asked for."""

    def __missing__(self, job: str) -> Life:
        self[job] = Life(job)
        return self[job]


def lay_out(history: Sequence[Event], database: Database, *, slack: float = 5.0) -> Evidence:
    """A life for each job that an event or a row names."""
    lives = _Lives()
    for event in history:
        if event.job:
            lives[event.job].events.append(event)
    for job in database.jobs.values():
        lives[job.id].row = job
    for job_id, steps in database.steps.items():
        lives[job_id].steps = steps
    for job_id, effects in database.effects.items():
        lives[job_id].effects = effects
    return Evidence(history, database, lives, _asked(history), slack)


def _asked(history: Sequence[Event]) -> Mapping[str, Sequence[Event]]:
    asked: defaultdict[str, list[Event]] = defaultdict(list)
    for event in history:
        if event.op == "accept" and (request := event.text("request")):
            asked[request].append(event)
    return asked
