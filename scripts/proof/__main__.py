"""`make verify-long`: the long proof, part by part. A part that breaks stops none of the others.

What was left out or cut short is named at the end, and counts as not shown: exit status 0 only when every part ran
whole and held. CHAOS_RUNS=20 and SOAK_ROUNDS=20 cut short, ONLY=model,mutants leaves parts out. The soak breaks the
stack of `.env`, which is started for it; chaos brings its own.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.stack import command_line, console, processes
from scripts.stack.errors import StackError

ROOT: Final = Path(__file__).resolve().parents[2]
#: Runs of a whole campaign, each fault at least three times; failovers of a whole soak.
WHOLE_CAMPAIGN: Final = 100
WHOLE_SOAK: Final = 200

Runner = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Part:
    """One target of the Makefile, with its settings."""

    target: str
    settings: tuple[str, ...] = ()
    cut_short: str = ""  #: how, in words

    @property
    def argv(self) -> list[str]:
        return ["make", self.target, *self.settings]


def parts(chaos_runs: int = WHOLE_CAMPAIGN, soak_rounds: int = WHOLE_SOAK) -> tuple[Part, ...]:
    """In the order of how soon they say something."""
    return (
        Part("model"),
        Part("mutants"),
        Part("chaos", ("SEED=1", f"RUNS={chaos_runs}", "RESUME=1"), _short(chaos_runs, WHOLE_CAMPAIGN, "runs")),
        Part("up"),
        Part("failover-soak", (f"ROUNDS={soak_rounds}",), _short(soak_rounds, WHOLE_SOAK, "rounds")),
    )


def _short(wanted: int, whole: int, what: str) -> str:
    return f"{wanted} of {whole} {what}" if wanted < whole else ""


def prove(wanted: Sequence[Part], targets: frozenset[str], run: Runner) -> tuple[list[str], int]:
    """A line for each part, and the exit status."""
    lines, is_whole = [], True
    for part in wanted:
        if part.target not in targets:
            lines.append(f"left out    {part.target}: this Makefile does not have it")
            is_whole = False
            continue
        console.say(f"== {' '.join(part.argv)}")
        began = time.monotonic()
        held = run(part.argv) == 0
        word = "BROKEN" if not held else "cut short" if part.cut_short else "held"
        short = f"; {part.cut_short}" if part.cut_short else ""
        lines.append(f"{word:<12}{part.target}: {(time.monotonic() - began) / 60:.1f} min{short}")
        is_whole = is_whole and word == "held"
    return lines, 0 if is_whole else 1


def targets_of(makefile: str) -> frozenset[str]:
    """Every target that a Makefile defines."""
    return frozenset(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


def chosen(all_parts: Sequence[Part], only: str) -> tuple[list[Part], list[str]]:
    """The parts that ONLY= names, all of them when it is empty; and a line for each that it leaves out."""
    names = set(filter(None, only.split(",")))
    if unknown := names - {part.target for part in all_parts}:
        known = ",".join(part.target for part in all_parts)
        raise StackError(f"ONLY={only} names {', '.join(sorted(unknown))}.", fix=f"make verify-long ONLY={known}")
    taken = [part for part in all_parts if not names or part.target in names]
    return taken, [f"left out    {part.target}: ONLY={only}" for part in all_parts if part not in taken]


def main(environment: Mapping[str, str] = os.environ) -> int:
    runs, rounds = (
        int(environment.get("CHAOS_RUNS") or WHOLE_CAMPAIGN),
        int(environment.get("SOAK_ROUNDS") or WHOLE_SOAK),
    )
    wanted, left_out = chosen(parts(runs, rounds), environment.get("ONLY") or "")
    targets = targets_of((ROOT / "Makefile").read_text())
    # ONLY means this command's parts alone.
    inherited = {name: value for name, value in environment.items() if name not in ("ONLY", "MAKEFLAGS", "MFLAGS")}
    lines, status = prove(wanted, targets, lambda argv: processes.call(argv, env=inherited, cwd=ROOT, check=False))
    for line in [*lines, *left_out]:
        console.say(line)
    return 1 if left_out else status


if __name__ == "__main__":
    sys.exit(command_line.exit_status(main, interrupted="interrupted; chaos goes on by the same command"))
