"""From files to findings: what a program calls in the place of the command line."""

from collections.abc import Collection, Sequence
from pathlib import Path

from scripts.checker import lines, rules
from scripts.checker.database import database
from scripts.checker.errors import InputInvalid
from scripts.checker.evidence import Evidence, lay_out
from scripts.checker.history import events
from scripts.checker.report import Report, summed_up


def judge(
    history: Sequence[Path],
    rows: Sequence[Path],
    *,
    clock: str = "mono",
    slack: float = 5.0,
    skip: Collection[str] = (),
) -> tuple[Evidence, Report]:
    """Reads and judges. Raises InputInvalid and OSError."""
    happened = events((line for path in lines.files(list(history)) for line in lines.read(path)), clock=clock)
    if not happened:
        raise InputInvalid(f"{', '.join(map(str, history))}: holds no event; nothing can be judged")
    held = database(line for path in lines.files(list(rows)) for line in lines.read(path))
    evidence = lay_out(happened, held, slack=slack)
    return evidence, summed_up(evidence, rules.judged(evidence, skip=skip))
