"""How busy the machine is while a drill runs: a time that is missed on a full machine says little about the stack."""

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

_STAT: Final = Path("/proc/stat")
_PRESSURE: Final = Path("/proc/pressure/cpu")


class Look(NamedTuple):
    """Since boot: CPU time in ticks, and the time in which something waited for a core in microseconds."""

    at: float  #: seconds on the clock of time.monotonic
    busy: int
    passed: int
    waited: int | None  #: None = this kernel does not count it


def look() -> Look:
    pressure = _PRESSURE.read_text() if _PRESSURE.is_file() else None
    return parsed(_STAT.read_text(), pressure, at=time.monotonic())


def parsed(stat: str, pressure: str | None, *, at: float) -> Look:
    """From /proc/stat and /proc/pressure/cpu."""
    user, nice, system, idle, iowait, *others = (int(field) for field in stat.splitlines()[0].split()[1:9])
    busy = user + nice + system + sum(others)
    waited = int(pressure.splitlines()[0].rpartition("total=")[2]) if pressure else None
    return Look(at, busy, busy + idle + iowait, waited)


def between(before: Look, after: Look) -> str:
    """One phrase on the time between two looks."""
    busy = (after.busy - before.busy) / max(1, after.passed - before.passed)
    said = f"{os.cpu_count()} cores, {busy:.0%} busy"
    if before.waited is None or after.waited is None:
        return said
    waited = (after.waited - before.waited) / 1e6 / max(1e-9, after.at - before.at)
    return f"{said}; something waited for a core {min(1.0, waited):.0%} of the time"
