"""What every process of a run wrote down, and what the checker says of it."""

import shutil
from pathlib import Path

from scripts.checker import report
from scripts.checker.errors import InputInvalid
from scripts.checker.judge import judge
from scripts.stack import console, history
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError


def judged(stack: Stack, *, seed: int) -> list[str]:
    """A phrase for each sort of finding; the smallest story of each is printed, and the files are kept.

    Raises StackError when the history or the rows cannot be read.
    """
    try:
        events, rows = history.collect(stack, since=0.0)  # each run begins with empty tables
        evidence, found = judge([events], [rows])
    except InputInvalid as error:
        raise StackError(f"{error}.", fix="make ps") from error
    console.say(f"         history: {found.events} events, {found.unknown} operations of unknown end")
    if found.findings:
        for line in report.lines(evidence, found):
            console.say(f"         {line}")
        console.say(f"         kept in {_keep(events, rows, seed)}")
    first = {finding.defect: finding for finding in reversed(found.findings)}
    return [f"{defect}: {finding.about} {finding.what}" for defect, finding in first.items()]


def _keep(events: Path, rows: Path, seed: int) -> Path:
    kept = events.parent / "histories" / f"seed-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(events, kept / "history")
    shutil.copy(rows, kept / "rows.jsonl")
    return kept
