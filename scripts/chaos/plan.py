"""What a run does, as data: drawn from a seed, printed, kept as a file, replayed and made smaller. Knows no stack."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from scripts.stack.deployment import MODES, TOPOLOGIES
from scripts.stack.errors import StackError

#: 2: faults are dealt evenly over consecutive seeds.
VERSION: Final = 2

#: Of each so many consecutive seeds those with these remainders have one fault: such runs show how long the stack takes
#: to recover from it. In the others faults overlap.
CYCLE: Final = 5
SINGLE: Final = (1, 2, 4)
OVERLAPPING: Final = (0, 3)
#: Faults of a run in which they overlap: one for so many seconds of load, at most so many, at least two.
SECONDS_PER_FAULT: Final = 5.0
MOST_FAULTS: Final = 5
#: Seeds that share an order of the faults. Within them every fault is drawn about equally often; the next ones put
#: others beside each other.
BLOCK: Final = 1000
#: How often a fault of one mode is in that mode's deck: a campaign runs half its seeds there.
_COPIES_OF_ONE_MODE: Final = 3
#: Shares of the load in which faults begin.
EARLIEST, LATEST = 0.15, 0.85
#: When a single fault begins, and how long it lasts at most: before it the usual flow is seen, after it the way back.
SINGLE_AT, SINGLE_LASTS = 0.2, 0.5


@dataclass(frozen=True)
class Kind:
    """One fault of the closed list, as far as a plan needs it."""

    name: str
    lasts: tuple[float, float] = (0.0, 0.0)  #: seconds until it is healed, least and most; 0 = nothing stays broken
    targets: tuple[str, ...] = ("",)
    modes: tuple[str, ...] = MODES
    topologies: tuple[str, ...] = TOPOLOGIES
    back_within: float = 20.0  #: seconds in which every flow is back from it, when it is the only one

    def applies(self, mode: str, topology: str) -> bool:
        return mode in self.modes and topology in self.topologies

    @property
    def is_shared(self) -> bool:
        """Whether every mode has it."""
        return set(self.modes) == set(MODES)


@dataclass(frozen=True)
class Step:
    """One fault of a plan."""

    at: float  #: seconds since the load began
    fault: str
    target: str  #: service, or "" when the fault finds its own
    lasts: float  #: seconds
    dice: int  #: seed of what the fault chooses among what it finds

    def words(self) -> str:
        stays = f" for {self.lasts:g} s" if self.lasts else ""
        target = "" if self.target in self.fault else f" {self.target}"
        return f"{self.fault}{target}{stays}"


@dataclass(frozen=True)
class Plan:
    """A whole run. The load is drawn from the same seed: a plan with fewer steps keeps its load."""

    seed: int
    mode: str
    topology: str
    duration: float  #: seconds of load
    rate: float  #: requests a second
    steps: tuple[Step, ...]

    @property
    def count(self) -> int:
        """Requests in all."""
        return int(self.duration * self.rate)

    def with_steps(self, steps: Sequence[Step]) -> "Plan":
        return replace(self, steps=tuple(steps))

    def text(self) -> str:
        """JSON, a line for each step."""
        head = {"v": VERSION, **asdict(self)}
        steps = ",\n  ".join(json.dumps(step) for step in head.pop("steps"))
        return f'{json.dumps(head)[:-1]}, "steps": [\n  {steps}\n]}}\n'


def draw(seed: int, kinds: Mapping[str, Kind], *, mode: str, topology: str, duration: float, rate: float) -> Plan:
    """The plan of a seed. Consecutive seeds walk through the whole list: alone, and dealt out to overlap."""
    fitting = [kind for kind in kinds.values() if kind.applies(mode, topology)]
    chance = Random(f"{seed} {mode} {topology}")
    block, number = divmod(seed, BLOCK)
    round_, place = divmod(number, CYCLE)
    if place in SINGLE:
        listed = [kind for kind in kinds.values() if topology in kind.topologies]
        turn = round_ * len(SINGLE) + SINGLE.index(place)
        alone = _in_turn(listed, turn, mode, Random(f"{block} {topology}"))
        steps = [_step(alone, duration * SINGLE_AT, duration * (SINGLE_AT + SINGLE_LASTS), chance)]
    else:
        deck = _deck(fitting, Random(f"{block} {mode} {topology}"))
        count = max(2, min(MOST_FAULTS, int(duration / SECONDS_PER_FAULT)))
        begin = (round_ * len(OVERLAPPING) + OVERLAPPING.index(place)) * count
        dealt = [deck[at % len(deck)] for at in range(begin, begin + count)]
        steps = [_step(kind, duration * chance.uniform(EARLIEST, LATEST), duration, chance) for kind in dealt]
    return Plan(seed, mode, topology, duration, rate, tuple(sorted(steps, key=lambda step: step.at)))


def _in_turn(listed: Sequence[Kind], turn: int, mode: str, chance: Random) -> Kind:
    """One order for both modes, so that a campaign that goes on in the other one repeats none. Those of one mode come
    last in it; where they do not apply, another takes the turn.
    """
    shared = [kind for kind in listed if kind.is_shared]
    chance.shuffle(shared)
    order = [*shared, *(kind for kind in listed if not kind.is_shared)]
    found = order[turn % len(order)]
    return found if mode in found.modes else shared[turn % len(shared)]


def _deck(fitting: Sequence[Kind], chance: Random) -> list[Kind]:
    deck = [kind for kind in fitting for _ in range(1 if kind.is_shared else _COPIES_OF_ONE_MODE)]
    chance.shuffle(deck)
    return deck


def parse(text: str, kinds: Mapping[str, Kind]) -> Plan:
    """A plan from its JSON. Raises StackError when it is none, or names a fault that is not in the list."""
    try:
        head: dict[str, Any] = json.loads(text)
        version, rows = head.pop("v"), head.pop("steps")
        plan = Plan(**head, steps=tuple(Step(**row) for row in rows))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackError(f"This is no plan of faults: {error}.", fix="make chaos SEED=1, which prints one") from error
    unknown = sorted({step.fault for step in plan.steps} - kinds.keys())
    if version != VERSION or unknown:
        what = f"faults {', '.join(unknown)}" if unknown else f"version {version}"
        raise StackError(f"The plan has {what}, which this release does not know.", fix="make chaos SEED=1")
    return plan


def read(path: Path, kinds: Mapping[str, Kind]) -> Plan:
    if not path.is_file():
        raise StackError(f"PLAN={path} is no file.", fix="make chaos SEED=1, which writes one")
    return parse(path.read_text(), kinds)


def _step(kind: Kind, at: float, until: float, chance: Random) -> Step:
    lasts = min(chance.uniform(*kind.lasts), max(1.0, until - at)) if kind.lasts[1] else 0.0
    return Step(round(at, 1), kind.name, chance.choice(kind.targets), round(lasts, 1), chance.randrange(1_000_000))
