"""What a soak is to do, what it wrote down, and what that says. Knows no container.

Lines of two sorts: a turn each, and a look after each stretch of turns. Turns count when a look has judged their jobs:
what ran between the last look and a cut runs again.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.bench.results import Record
from scripts.drills.load import percentile
from scripts.failover.turn import TURNS
from scripts.stack.errors import StackError

#: Descriptors, and sockets, by which a service may grow: pools of connections fill by chance. Then one in ten turns,
#: where a leak is one in each.
FREE_GROWTH: Final = 20
GROWTH_PER_TURN: Final = 0.1


@dataclass(frozen=True)
class Soak:
    """One soak; equal ones do the same in the same order."""

    rounds: int  #: turns in all
    rate: float
    seed: int
    mode: str

    @property
    def name(self) -> str:
        return f"{self.mode} {self.rounds} turns {self.rate:g}/s seed {self.seed}"

    def faults(self) -> list[str]:
        """Of each turn. Every round of five has each fault once, shuffled."""
        chance, order = random.Random(f"soak {self.seed}"), list[str]()
        while len(order) < self.rounds:
            order += chance.sample(TURNS, len(TURNS))
        return order[: self.rounds]

    def chance(self, number: int) -> random.Random:
        """Of one turn's random choices."""
        return random.Random(f"soak {self.seed} {number}")

    def identity(self) -> Record:
        return {"soak": self.name, "rounds": self.rounds, "rate": self.rate, "seed": self.seed, "mode": self.mode}


def of(soak: Soak, records: Iterable[Record]) -> list[Record]:
    return [one for one in records if one["soak"] == soak.name]


def newest(records: Sequence[Record]) -> Soak:
    """The soak that was begun or gone on with last. Raises StackError when there is none."""
    if not records:
        raise StackError("There is no soak to go on with.", fix="make failover-soak")
    last = records[-1]
    return Soak(int(last["rounds"]), float(last["rate"]), int(last["seed"]), str(last["mode"]))


def done(records: Iterable[Record]) -> int:
    """Turns that a look has judged."""
    return max((int(one["turns"]) for one in looks(records)), default=0)


def turns(records: Iterable[Record]) -> list[Record]:
    """Those that no look has judged included."""
    return [one for one in records if one["line"] == "turn"]


def looks(records: Iterable[Record]) -> list[Record]:
    return [one for one in records if one["line"] == "look"]


def turn_line(soak: Soak, number: int, record: Record) -> str:
    """What the operator reads of a turn when it is over."""
    switch = "no switch" if record["switch_s"] is None else f"switch {record['switch_s']:5.2f} s"
    whole = "never" if record["whole_s"] is None else f"{record['whole_s']:.1f} s"
    flows = ", ".join(f"{name} {seconds:.2f}" for name, seconds in sorted(record["flows"].items()))
    said = (
        f"{number:>4}/{soak.rounds} {record['fault']:<8} {record['primary']} -> {record['leader']}  {switch:<14} "
        f"flow {flows or '-'}; whole {whole}; {record['seconds']:.1f} s"
    )
    return "; ".join([said, *(f"BROKEN {what}" for what in record["broken"])])


HEADER: Final = (
    f"{'fault':<10}{'turns':>6}{'switched':>9}  {'switch p50 / max':<18}{'flow after it p50 / max':<25}"
    f"{'whole p50 / max':<18}{'writes lost':>11}"
)


def table(records: Sequence[Record]) -> list[str]:
    """A line for each fault and one for all; seconds."""
    rows = [(fault, [one for one in turns(records) if one["fault"] == fault]) for fault in TURNS]
    return [HEADER, *(_row(fault, some) for fault, some in [*rows, ("all", turns(records))] if some)]


def _row(fault: str, some: Sequence[Record]) -> str:
    switches = _known(some, "switch_s")
    flows = [max(one["flows"].values()) for one in some if one["flows"]]
    return (
        f"{fault:<10}{len(some):>6}{len(switches):>9}  {_span(switches):<18}{_span(flows):<25}"
        f"{_span(_known(some, 'whole_s')):<18}{sum(one['writes_lost'] for one in some):>11}"
    )


def _known(some: Sequence[Record], name: str) -> list[float]:
    return [float(one[name]) for one in some if one[name] is not None]


def _span(values: Sequence[float]) -> str:
    return f"{percentile(values, 0.5):.2f} / {max(values):.2f}" if values else "-"


@dataclass(frozen=True)
class Growth:
    """What one service held at the first look after work and at the last one, within one session of a soak."""

    service: str
    turns: int
    first: Mapping[str, float]
    last: Mapping[str, float]

    @property
    def bound(self) -> float:
        return FREE_GROWTH + GROWTH_PER_TURN * self.turns

    def broken(self) -> list[str]:
        grown = {name: self.last[name] - self.first[name] for name in ("descriptors", "sockets")}
        return [
            f"{self.service} holds {more:g} {name} more after {self.turns} turns (bound {self.bound:g})"
            for name, more in grown.items()
            if more > self.bound
        ]

    def text(self) -> str:
        spans = [f"{self.first[name]:g} -> {self.last[name]:g}" for name in ("descriptors", "sockets", "memory_mib")]
        more = self.last["memory_mib"] - self.first["memory_mib"]
        return f"{self.service:<14}{self.turns:>6}  {spans[0]:<16}{spans[1]:<14}{spans[2]:<20}{more:+.1f} MiB"


GROWTH_HEADER: Final = f"{'service':<14}{'turns':>6}  {'descriptors':<16}{'sockets':<14}{'resident MiB':<20}"


def growths(records: Sequence[Record]) -> list[Growth]:
    """By session: processes that another session held may have ended since. The look before any work does not count,
    for connections are made when they are needed first."""
    found = []
    for session in dict.fromkeys(one["session"] for one in looks(records)):
        warm = [one for one in looks(records) if one["session"] == session][1:]
        if not warm[1:]:
            continue
        first, last = warm[0], warm[-1]
        both = [service for service in first["held"] if service in last["held"]]
        between = int(last["turns"]) - int(first["turns"])
        found += [Growth(service, between, first["held"][service], last["held"][service]) for service in both]
    return found


def verdict(soak: Soak, records: Sequence[Record]) -> tuple[list[str], int]:
    """The last lines, and the exit status: 0 only for a soak that is complete and held."""
    judged = done(records)
    broken = [f"turn {one['number']} ({one['fault']}): {what}" for one in turns(records) for what in one["broken"]]
    broken += [f"look after turn {one['turns']}: {what}" for one in looks(records) for what in one["broken"]]
    grown = growths(records)
    broken += [what for growth in grown for what in growth.broken()]
    lines = [*table(records)]
    lines += ["", GROWTH_HEADER, *(growth.text() for growth in grown)] if grown else []
    lines += ["", _sums(soak, records, judged)]
    lines += [f"stumbled: turn {one['number']}: {one['what']}" for one in records if one["line"] == "stumble"]
    lines += [f"broken: {what}" for what in broken]
    if judged < soak.rounds:
        lines.append(f"cut short after {judged} of {soak.rounds} turns: quote it with its count; RESUME=1 goes on")
    lines.append(f"verdict: {_word(broken, judged < soak.rounds)} ({soak.name})")
    return lines, 0 if judged >= soak.rounds and not broken else 1


def _word(broken: Sequence[str], is_cut: bool) -> str:
    if broken:
        return f"{len(broken)} promise(s) broken"
    return "held as far as it went" if is_cut else "held"


def _sums(soak: Soak, records: Sequence[Record], judged: int) -> str:
    total = {name: sum(int(one.get(name, 0)) for one in looks(records)) for name in SUMS}
    return (
        f"{judged} of {soak.rounds} turns: {total['accepted']} jobs accepted, {total['lost']} lost, "
        f"{total['twice']} effects twice, {total['extra_executions']} extra executions; "
        f"{total['not_at_once']} requests not accepted at once; {total['left']} workers left by themselves"
    )


#: Counts that looks carry.
SUMS: Final = ("accepted", "lost", "twice", "extra_executions", "not_at_once", "left")
