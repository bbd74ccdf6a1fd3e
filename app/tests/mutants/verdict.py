"""What the runs of one mutant come to, as a row of the table."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.mutants.mutant import Mutant
from tests.mutants.trial import Finding, Trial

#: A job must still run to its result: what breaks everything tests nothing.
ALIVE: Final = "tests/integration/jobs/test_execution.py::test_runs_a_job_to_its_result"

_WHY_CHARACTERS: Final = 300


@dataclass(frozen=True)
class Verdict:
    """A mutant and its runs."""

    mutant: Mutant
    trials: Sequence[Trial]

    @property
    def caught(self) -> int:
        """Runs in which a check saw it."""
        return sum(bool(self._findings(trial)) for trial in self.trials)

    @property
    def problem(self) -> str:
        """Why the mutant proves nothing, or empty."""
        for trial in self.trials:
            if trial.broken:
                return f"it does not run: {trial.broken[0]}"
            if ALIVE not in trial.passed:
                return "it does not even run a job"
        if self.caught < len(self.trials):
            return "it SURVIVES: no check sees it" if not self.caught else "it SURVIVES some runs"
        return ""

    def lines(self) -> Iterator[str]:
        """The row, and below it each check that saw it, with what it said in the latest run, and those that did not."""
        word = f"SURVIVED OR BROKEN: {self.problem}" if self.problem else "caught"
        yield f"{self.mutant.name:30} {self.mutant.breaks:42} {self.caught} of {len(self.trials)} {word}"
        counts: Counter[str] = Counter()
        latest: dict[str, str] = {}
        for trial in self.trials:
            for finding in self._findings(trial):
                counts[finding.check] += 1
                latest[finding.check] = finding.why
        for check, count in counts.items():
            yield f"    {count}x {shown(check)}: {latest[check][:_WHY_CHARACTERS]}".rstrip(": ")
        blind = [check for check in self.mutant.checks if not any(_is_of(seen, check) for seen in counts)]
        yield from (f"    0x {shown(check)}" for check in blind if not self.problem)
        if self.problem:
            yield f"    {self.mutant.what}; it was to be seen by"
            yield from (f"      {check}" for check in self.mutant.checks)

    def _findings(self, trial: Trial) -> list[Finding]:
        return [finding for finding in trial.findings if finding.check != ALIVE]


def _is_of(seen: str, check: str) -> bool:
    """Whether the test is the check, or in it: a check may be a file, or all cases of one test."""
    return seen == check or seen.startswith((f"{check}::", f"{check}["))


def shown(check: str) -> str:
    """`test_bridge: test_…` of a pytest id; the worlds of the interleavings by their names alone."""
    path, _, test = check.partition("::")
    if world := re.search(r"test_interleavings\.py::.*\[(.+)\]$", check):
        return f"interleavings {world[1]}"
    file = path.rpartition("/")[2].removesuffix(".py")
    return f"{file}::{test}" if test else file
