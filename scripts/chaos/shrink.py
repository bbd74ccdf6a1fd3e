"""Makes a failing plan smaller: fewer faults while it still fails, then shorter ones. Delta debugging after Zeller.

A run is no function of its plan: each candidate gets some tries, and counts as failing when one of them fails.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from scripts.chaos.plan import Plan, Step
from scripts.stack import console

TRIES: Final = 2
#: Seconds: what lasts no longer is not halved.
_SHORT_SECONDS: Final = 2.0

#: The promise about time.
BACK: Final = "every flow was back"

Fails = Callable[[Plan], bool]


def promises(broken: Iterable[str]) -> set[str]:
    """The promises in what a verdict says broke: its sentences without cases and figures."""
    return {sentence.split(";")[0].split(" after ")[0] for sentence in broken}


def worst(broken: set[str]) -> set[str]:
    """What a smaller plan has to break, too. Time alone only by itself: overlapping faults are not judged on it."""
    return broken - {BACK} or broken


def shrink(plan: Plan, fails: Fails, *, tries: int = TRIES) -> Plan:
    """A plan that fails although it has no more faults than this one, and none that it could do without."""

    def still_fails(steps: Sequence[Step]) -> bool:
        candidate = plan.with_steps(steps)
        console.say(f"try {len(steps)} fault(s): {', '.join(step.words() for step in steps) or 'none'}")
        return any(fails(candidate) for _ in range(tries))

    return plan.with_steps(_shorter(_fewer(list(plan.steps), still_fails), still_fails))


def _fewer(steps: list[Step], still_fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Drops as many as it can, large parts first."""
    parts = 2
    while steps:
        size = max(1, len(steps) // parts)
        chunks = [steps[at : at + size] for at in range(0, len(steps), size)]
        without = ([step for step in steps if step not in chunk] for chunk in chunks)
        smaller = next((rest for rest in without if still_fails(rest)), None)
        if smaller is not None:
            steps, parts = smaller, max(2, parts - 1)
        elif size == 1:
            break
        else:
            parts = min(len(steps), parts * 2)
    return steps


def _shorter(steps: list[Step], still_fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Halves how long a fault stays, once each."""
    for number, step in enumerate(steps):
        if step.lasts > _SHORT_SECONDS:
            shorter = [*steps[:number], replace(step, lasts=round(step.lasts / 2, 1)), *steps[number + 1 :]]
            if still_fails(shorter):
                steps = shorter
    return steps
