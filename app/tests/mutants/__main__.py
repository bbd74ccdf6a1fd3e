"""Plants each mutant in a copy of the tree and runs its checks there; the sound tree goes first, and must hold.

Exit status 1 when a check fails on the sound tree, or a mutant survives.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.mutants import trial
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.trial import Trial
from tests.mutants.verdict import ALIVE, Verdict

APP: Final = Path(__file__).resolve().parents[2]

#: Mutants on trial at once: each has a Postgres and a Redis of its own.
AT_ONCE: Final = 2


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    mutants = [one for one in MUTANTS if not options.only or one.name in options.only]
    seeds = range(1, options.runs + 1)
    with tempfile.TemporaryDirectory(prefix="holdfast-mutants-") as name:
        folder = Path(name)
        if not _sound_holds(mutants, seeds, folder):
            return 1
        lanes: SimpleQueue[int] = SimpleQueue()
        for lane in range(AT_ONCE):
            lanes.put(lane)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            verdicts = []
            for verdict in pool.map(partial(_tried, seeds=seeds, folder=folder, lanes=lanes), mutants):
                verdicts.append(verdict)
                for line in verdict.lines():
                    say(line)
    lost = [one.mutant.name for one in verdicts if one.problem]
    say(f"\n{len(verdicts) - len(lost)} of {len(verdicts)} mutants are caught in each of {options.runs} run(s)")
    if lost:
        say(f"holes in the proof: {', '.join(lost)}; write the check that sees them")
    return 1 if lost else 0


def _sound_holds(mutants: Sequence[Mutant], seeds: Sequence[int], folder: Path) -> bool:
    """The very checks that are to see the mutants, on the tree as it is."""
    checks = dict.fromkeys(check for one in mutants for check in (ALIVE, *one.checks))
    for seed in seeds:
        report = folder / f"sound-{seed}.jsonl"
        found = trial.run(APP, checks, seed=seed, report=report, repository=APP.parent, processes=AT_ONCE)
        if found.findings or found.broken:
            say(f"the sound tree fails its own checks (seed {seed}):")
            for finding in found.findings:
                say(f"  {finding.check}: {finding.why}")
            for line in found.broken:
                say(f"  {line}")
            return False
        say(f"sound: {len(found.passed)} checks hold (seed {seed})")
    return True


def _tried(mutant: Mutant, *, seeds: Sequence[int], folder: Path, lanes: SimpleQueue[int]) -> Verdict:
    app = folder / mutant.name / "app"
    # With its bytecode, so that only what is rewritten is compiled again.
    shutil.copytree(APP, app)
    mutant.plant(app)
    lane = lanes.get()
    try:
        trials: list[Trial] = [
            trial.run(
                app,
                (ALIVE, *mutant.checks),
                seed=seed,
                report=folder / f"{mutant.name}-{seed}.jsonl",
                repository=APP.parent,
                lane=lane,
            )
            for seed in seeds
        ]
    finally:
        lanes.put(lane)
    shutil.rmtree(app)
    return Verdict(mutant, trials)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    names = [one.name for one in MUTANTS]
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; default: all")
    parser.add_argument("--runs", type=_count, default=1, help="of each mutant, with seeds from 1 on")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.only if name not in names]:
        parser.error(f"{', '.join(unknown)}: no such mutant. There are {', '.join(names)}")
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
