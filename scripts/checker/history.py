"""Events: what processes wrote down, merged by time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from scripts.checker.errors import InputInvalid
from scripts.checker.lines import Line

TYPES: Final = frozenset({"invoke", "ok", "fail", "info"})
CLOCKS: Final = ("mono", "wall")

#: Operations that end a job, and the ones that end an attempt and leave the job open.
ENDS: Final = frozenset({"finish", "fail", "cancel"})
RETURNS: Final = frozenset({"retry", "hand_back"})


@dataclass(slots=True)
class Event:
    """One line. `began` is when its operation was tried, by the same clock; unknown without an invoke."""

    type: str
    op: str
    actor: str
    job: str
    time: float  #: seconds by the chosen clock
    token: int | None
    line: dict[str, Any]
    began: float | None = None

    def text(self, name: str) -> str:
        """A member as text, "" when it is absent."""
        value = self.line.get(name)
        return "" if value is None else str(value)


def events(lines: Iterable[Line], *, clock: str = "mono") -> list[Event]:
    """All events by time; invokes joined to their ends. Raises InputInvalid."""
    found = sorted((_event(line, clock) for line in lines), key=lambda event: event.time)
    _join(found)
    return found


def open_ended(found: Iterable[Event]) -> Iterator[Event]:
    """Invokes that nobody ended: whoever tried was killed, or still tries."""
    waiting: dict[tuple[str, str], Event] = {}
    for event in found:
        if call := event.text("call"):
            if event.type == "invoke":
                waiting[event.actor, call] = event
            else:
                waiting.pop((event.actor, call), None)
    return iter(waiting.values())


def _event(line: Line, clock: str) -> Event:
    value = line.value
    kind, op, time, token = value.get("type"), value.get("op"), value.get(clock), value.get("token")
    if kind not in TYPES:
        raise InputInvalid(f"{line.place}: type is {kind!r}, none of {', '.join(sorted(TYPES))}")
    if not isinstance(op, str) or not isinstance(time, int | float):
        raise InputInvalid(f"{line.place}: needs op (text) and {clock} (seconds)")
    if token is not None and not isinstance(token, int):
        raise InputInvalid(f"{line.place}: token is no integer")
    return Event(kind, op, str(value.get("actor", "")), str(value.get("job") or ""), float(time), token, value)


def _join(found: Iterable[Event]) -> None:
    """An operation on several jobs has one invoke each, with one call."""
    began: dict[tuple[str, str], float] = {}
    for event in found:
        if not (call := event.text("call")):
            continue
        if event.type == "invoke":
            began.setdefault((event.actor, call), event.time)
        else:
            event.began = began.get((event.actor, call))
