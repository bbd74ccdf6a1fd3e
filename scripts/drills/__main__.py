"""Runs one drill by its name: `python3 -m scripts.drills postgres-outage`. `make drill` calls nothing else."""

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from scripts.stack import command_line, console
from scripts.stack.errors import StackError


def names() -> list[str]:
    """Modules of this package that are drills: those with a `main`."""
    found = sorted(Path(__file__).parent.glob("*.py"))
    return [
        path.stem.replace("_", "-") for path in found if path.stem != "__main__" and "\ndef main(" in path.read_text()
    ]


def main(argv: Sequence[str]) -> int:
    """Exit status of the drill; an error is one sentence and the command to run next."""
    name, *rest = argv or [""]
    signal.signal(signal.SIGTERM, command_line.interrupt)
    return command_line.exit_status(
        lambda: _run(name, rest), interrupted="interrupted; what the drill broke was healed"
    )


def _run(name: str, rest: Sequence[str]) -> int:
    if name in ("-h", "--help"):
        console.say("\n".join(names()))
        return 0
    if name not in names():
        what = f"NAME={name} is no drill: there are {', '.join(names())}." if name else "NAME is missing."
        raise StackError(what, fix=f"make drill NAME={names()[0]}")
    return int(import_module(f"scripts.drills.{name.replace('-', '_')}").main(rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
