"""The printed tables: every figure of a fault, a row per system; then lost and twice, a column per fault."""

from collections.abc import Iterable, Sequence

from scripts.bench.tables import titled
from scripts.others.verdict import Cell

_HEAD = ("fault", "system", "accepted", "refused", "hung", "lost", "twice", "extra runs", "recovered s", "slowest s")

#: A fault that cannot reach the system.
_NOT_REACHED = "-"


def lines(cells: Sequence[Cell]) -> list[str]:
    """Both, over all seeds."""
    return [*figures(cells), *summary(cells), *_notes(cells)]


def figures(cells: Sequence[Cell]) -> list[str]:
    rows = [_row(fault, system, found) for fault, system, found in _grouped(cells)]
    return titled(_HEAD, rows)


def summary(cells: Sequence[Cell]) -> list[str]:
    """`lost / twice` of what was accepted."""
    systems, faults = _names(cells, "system"), _names(cells, "fault")
    by_place = {(fault, system): found for fault, system, found in _grouped(cells)}
    rows = [(system, *(_lost_and_twice(by_place.get((fault, system), [])) for fault in faults)) for system in systems]
    return titled(("lost / twice", *faults), rows)


def _row(fault: str, system: str, found: Sequence[Cell]) -> tuple[str, ...]:
    refused, stranded = _sum(found, "refused"), _sum(found, "stranded")
    lost, kept = _sum(found, "lost"), _sum(found, "kept")
    return (
        fault,
        system,
        f"{_sum(found, 'accepted')} of {_sum(found, 'requests')}",
        f"{refused} ({stranded} left a row)" if stranded else str(refused),
        str(_sum(found, "unanswered")),
        f"{lost} ({kept} still held)" if kept else str(lost),
        str(_sum(found, "twice")),
        str(_sum(found, "extra_executions")),
        _worst(one.recovered for one in found) if fault != "none" else _NOT_REACHED,
        _worst(one.slowest for one in found),
    )


def _lost_and_twice(found: Sequence[Cell]) -> str:
    return f"{_sum(found, 'lost')} / {_sum(found, 'twice')}" if found else _NOT_REACHED


def _worst(values: Iterable[float | None]) -> str:
    """The longest; "never" when one did not happen."""
    known = list(values)
    return "never" if None in known else f"{max(value for value in known if value is not None):.1f}"


def _notes(cells: Sequence[Cell]) -> list[str]:
    ghosts = [
        f"{one.system}, {one.fault}, seed {one.seed}: {one.ghosts} effects of requests that were rolled back"
        for one in cells
        if one.ghosts
    ]
    elected = {(one.fault, one.seed): one.elections for one in cells if one.elections}
    return [
        *ghosts,
        *(f"{fault}, seed {seed}: Sentinel failed over {times} times" for (fault, seed), times in elected.items()),
    ]


def _grouped(cells: Sequence[Cell]) -> list[tuple[str, str, list[Cell]]]:
    return [
        (fault, system, found)
        for fault in _names(cells, "fault")
        for system in _names(cells, "system")
        if (found := [one for one in cells if (one.fault, one.system) == (fault, system)])
    ]


def _names(cells: Iterable[Cell], field: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(one, field)) for one in cells))


def _sum(cells: Iterable[Cell], field: str) -> int:
    return sum(int(getattr(one, field)) for one in cells)
