"""Rows: what the database holds at the end."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scripts.checker.errors import InputInvalid
from scripts.checker.lines import Line

_LEGAL: Final = (
    ("", "QUEUED"),
    ("QUEUED", "RUNNING"),
    ("QUEUED", "CANCELLED"),
    ("RUNNING", "RUNNING"),  # the lease ran out and another took over
    ("RUNNING", "QUEUED"),
    ("RUNNING", "SUCCEEDED"),
    ("RUNNING", "FAILED"),
    ("RUNNING", "CANCELLED"),
)
_NAMED: Final = ("permanent", "poison", "unknown_kind", "invalid_params", "bridge_malformed", "bridge_poison")


@dataclass(frozen=True, slots=True)
class Machine:
    """The states of a job and what may follow what."""

    legal: frozenset[tuple[str, str]] = frozenset(_LEGAL)
    good: frozenset[str] = frozenset({"SUCCEEDED"})
    dead: frozenset[str] = frozenset({"FAILED", "CANCELLED"})  #: set the hash free
    lettered: frozenset[str] = frozenset({"FAILED"})  #: have a dead letter
    named: frozenset[str] = frozenset(_NAMED)

    @property
    def ends(self) -> frozenset[str]:
        return self.good | self.dead


@dataclass(frozen=True, slots=True)
class Job:
    """The row of a job; members as in the package's docstring."""

    id: str
    state: str
    line: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A member as text, "" when it is absent."""
        value = self.line.get(name)
        return "" if value is None else str(value)

    def number(self, name: str) -> float | None:
        value = self.line.get(name)
        return float(value) if isinstance(value, int | float) else None


@dataclass(slots=True)
class Database:
    """All rows. Lists hold the lines as they came."""

    machine: Machine = field(default_factory=Machine)
    jobs: dict[str, Job] = field(default_factory=dict)
    steps: defaultdict[str, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))  #: by seq
    effects: defaultdict[str, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    letters: list[Mapping[str, Any]] = field(default_factory=list)
    schedules: list[Mapping[str, Any]] = field(default_factory=list)


def database(lines: Iterable[Line]) -> Database:
    """Raises InputInvalid."""
    made = Database()
    for line in lines:
        try:
            _take(made, line.value)
        except (KeyError, TypeError, ValueError) as error:
            raise InputInvalid(f"{line.place}: is no row of this form: {error!r}") from error
    for steps in made.steps.values():
        steps.sort(key=lambda step: step["seq"])
    return made


def _take(made: Database, row: dict[str, Any]) -> None:
    match row["row"]:
        case "job":
            made.jobs[row["id"]] = Job(row["id"], row["state"], row)
        case "step":
            made.steps[row["job"]].append({"from": row["from"], "to": row["to"], "seq": row["seq"], **row})
        case "effect":
            made.effects[row["job"]].append({"count": int(row["count"]), **row})
        case "dead_letter":
            made.letters.append({"reason": row["reason"], **row})
        case "schedule":
            made.schedules.append({"name": row["name"], "due": list(row["due"]), **row})
        case "machine":
            made.machine = _machine(row)
        case other:
            raise ValueError(f"row {other!r}")


def _machine(row: Mapping[str, Any]) -> Machine:
    return Machine(
        legal=frozenset((before, after) for before, after in row["legal"]),
        good=frozenset(row["good"]),
        dead=frozenset(row["dead"]),
        lettered=frozenset(row["lettered"]),
        named=frozenset(row["named"]),
    )
