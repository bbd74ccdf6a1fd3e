"""What is told of a finding: the whole life of one job, in the order of time, and what was broken meanwhile."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from scripts.checker.evidence import Evidence, Finding, Life
from scripts.checker.history import Event

#: Lines of a story; of a longer one the middle is left out.
_MOST: Final = 40
_OWN_COLUMN: Final = frozenset({"type", "op", "actor", "job", "mono", "wall", "row", "seq", "from", "to", "id"})


def smallest(evidence: Evidence, findings: Iterable[Finding]) -> Finding:
    """The one with the shortest life: the least to read."""
    return min(findings, key=lambda finding: _length(evidence.lives.get(finding.about)))


def told(evidence: Evidence, finding: Finding) -> list[str]:
    """Lines: seconds since the first, who, what. Ends with the row."""
    life = evidence.lives.get(finding.about)
    if life is None:
        return []
    moments = sorted(_moments(evidence, life), key=lambda moment: moment[0])
    begin = moments[0][0] if moments else 0.0
    lines = [f"{time - begin:+10.3f} s  {what}" for time, what in moments]
    return [*_shortened(lines), *_rows(life)]


def _length(life: Life | None) -> int:
    return len(life.events) + len(life.steps) if life else 0


def _moments(evidence: Evidence, life: Life) -> Iterator[tuple[float, str]]:
    """By wall clocks: the database has no other."""
    times = [_wall(event) for event in life.events]
    for event, time in zip(life.events, times, strict=True):
        yield time, f"{event.actor:<24} {event.op} {event.type} {_members(event.line)}".rstrip()
    for step in life.steps:
        if (wall := step.get("wall")) is not None:
            yield (
                float(wall),
                f"{'database':<24} {step['from'] or 'nothing'} -> {step['to']} {_members(step)}".rstrip(),
            )
    if times:
        yield from _faults(evidence.history, min(times), max(times))


def _faults(history: Sequence[Event], begin: float, end: float) -> Iterator[tuple[float, str]]:
    for event in history:
        if event.op == "fault" and begin - 1.0 <= _wall(event) <= end + 1.0:
            yield _wall(event), f"{event.actor:<24} FAULT {event.type} {_members(event.line)}".rstrip()


def _wall(event: Event) -> float:
    wall = event.line.get("wall")
    return float(wall) if isinstance(wall, int | float) else event.time


def _members(line: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in line.items() if name not in _OWN_COLUMN and value not in (None, "")}
    return " ".join(f"{name}={value}" for name, value in shown.items())


def _rows(life: Life) -> Iterator[str]:
    if life.row is not None:
        yield f"{'at the end':>12}  row {_members(life.row.line)}"
    for effect in life.effects:
        yield f"{'at the end':>12}  effect {_members(effect)}"


def _shortened(lines: list[str]) -> list[str]:
    if len(lines) <= _MOST:
        return lines
    half = _MOST // 2
    return [*lines[:half], f"{'':>12}  … {len(lines) - 2 * half} more …", *lines[-half:]]
