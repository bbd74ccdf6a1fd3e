"""What every process of a run wrote down, and what the checker says of it."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.chaos.plan import Plan
from scripts.checker import report
from scripts.checker.errors import InputInvalid
from scripts.checker.evidence import Evidence, Life
from scripts.checker.judge import judge
from scripts.stack import console, history
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

#: What the processes of the stack do in every run; in stream mode `bridge` beside it.
_ALWAYS: Final = frozenset({"accept", "dispatch", "claim", "finish"})
#: Jobs that ran and whose claims nobody wrote down, share and number: a disk that is full for a moment costs some.
_UNTOLD_SHARE, _UNTOLD = 0.01, 5
_FIX: Final = "make chaos-down, which lets the next run begin with a new stack"


@dataclass(frozen=True)
class Judged:
    """A phrase for each sort of finding, and the files that they are read from."""

    phrases: Sequence[str]
    events: Path
    rows: Path

    def keep(self, plan: Plan) -> Path:
        """Copies the files: the next run takes their place."""
        name = f"{plan.mode}-seed-{plan.seed}-{time.strftime('%Y%m%dT%H%M%S')}"
        kept = self.events.parent / "histories" / name
        shutil.copytree(self.events, kept / "history")
        shutil.copy(self.rows, kept / "rows.jsonl")
        return kept


def judged(stack: Stack) -> Judged:
    """The smallest story of each finding is printed.

    Raises StackError when the history or the rows cannot be read, or processes wrote nothing down.
    """
    try:
        events, rows = history.collect(stack, since=0.0)  # each run begins with empty tables
        evidence, found = judge([events], [rows])
    except InputInvalid as error:
        raise StackError(f"{error}.", fix="make ps") from error
    _require_whole(evidence, stack.mode)
    console.say(f"         history: {found.events} events, {found.unknown} operations of unknown end")
    if found.findings:
        for line in report.lines(evidence, found):
            console.say(f"         {line}")
    first = {finding.defect: finding for finding in reversed(found.findings)}
    phrases = [f"{defect}: {finding.about} {finding.what}" for defect, finding in first.items()]
    return Judged(phrases, events, rows)


def _require_whole(evidence: Evidence, mode: str) -> None:
    """Where nobody wrote, nothing can be found. Raises StackError."""
    told = {event.op for event in evidence.history if not event.actor.startswith("host-")}
    wanted = _ALWAYS | {"bridge"} if mode == "stream" else _ALWAYS
    if missing := sorted(wanted - told):
        raise StackError(f"No process of the stack wrote down any {', '.join(missing)}.", fix=_FIX)
    ran = [life for life in evidence.lives.values() if _ran(life)]
    untold = [life.id for life in ran if all(event.op != "claim" for event in life.events)]
    if len(untold) > max(_UNTOLD, _UNTOLD_SHARE * len(ran)):
        said = f"{len(untold)} of {len(ran)} jobs ran and no process wrote down their claims ({untold[0]}, …)"
        raise StackError(f"{said}.", fix=_FIX)


def _ran(life: Life) -> bool:
    return any(step.get("event") in ("claimed", "rescued") for step in life.steps)
