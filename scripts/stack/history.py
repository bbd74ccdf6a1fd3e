"""`history`: fetches what a stack with HOLDFAST_HISTORY=1 wrote down, dumps its rows, and has both judged."""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scripts.checker import lines, report
from scripts.checker.errors import InputInvalid
from scripts.checker.judge import judge
from scripts.stack import console, host_history, processes
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.postgres import Postgres

#: HISTORY_DIR of every container.
_INSIDE: Final = "/var/lib/holdfast/history"
#: Truncates: who has a file open goes on at its new end.
_EMPTY: Final = f'for one in {_INSIDE}/*.jsonl; do [ ! -e "$one" ] || : > "$one"; done'

_TURN_ON: Final = "echo HOLDFAST_HISTORY=1 >> .env && make up"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear", action="store_true", help="begin a new one; while no job is under way")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    require_on(stack)
    if arguments.clear:
        clear(stack)
        console.say("A new history begins.")
        return 0
    try:
        history, rows = collect(stack)
        evidence, found = judge([history], [rows])
    except InputInvalid as error:
        raise StackError(f"{error}.", fix="make smoke") from error
    for line in report.lines(evidence, found):
        console.say(line)
    console.say(f"  again: python3 -m scripts.checker --history {history} --database {rows}")
    return 1 if found.findings else 0


def require_on(stack: Stack) -> None:
    """Raises StackError on a stack that writes nothing down."""
    if stack.value("HOLDFAST_HISTORY") != "1":
        raise StackError(f"{stack.project} writes no history down: HOLDFAST_HISTORY is not 1.", fix=_TURN_ON)


def clear(stack: Stack) -> None:
    """Empties every file. What is under way loses its beginning: call it while nothing is."""
    processes.read(["docker", "exec", _holder(stack), "sh", "-c", _EMPTY])
    shutil.rmtree(host_history.folder(stack), ignore_errors=True)


def collect(stack: Stack, *, since: float | None = None) -> tuple[Path, Path]:
    """Folder of all events, those of the host's tools too, and file of the rows accepted since a Unix time.

    That is by default the first event's. Raises StackError, InputInvalid.
    """
    history = host_history.folder(stack)
    inside = history / "stack"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir(parents=True)
    processes.read(["docker", "cp", f"{_holder(stack)}:{_INSIDE}/.", str(inside)], timeout=120)
    rows = history.parent / "rows.jsonl"
    rows.write_text(dump(stack, since=min(_walls(history)) if since is None else since), encoding="utf-8")
    return history, rows


def dump(stack: Stack, *, since: float) -> str:
    """Rows of what was accepted since this Unix time, as JSON Lines."""
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    return Postgres(stack).lines(script, since=str(since))


def _holder(stack: Stack) -> str:
    """A container that has the volume, stopped or not. Raises StackError."""
    found = Containers(stack.project).ids("web")
    if not found:
        raise StackError(f"{stack.project} has no container of web.", fix="make up")
    return found[0]


def _walls(history: Path) -> Iterator[float]:
    """Times of the first event of each file. Raises InputInvalid when there is none."""
    firsts = [line.value for path in lines.files([history]) for line in _first(path)]
    if not firsts:
        raise InputInvalid(f"{history}: holds no event")
    return (float(first["wall"]) for first in firsts)


def _first(path: Path) -> list[lines.Line]:
    return [line for line, _ in zip(lines.read(path), range(1), strict=False)]
