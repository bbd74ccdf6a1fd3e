"""Many runs on one stack: which are still to do, and the table over those that are done. Knows no container.

A campaign is named by what makes its runs comparable; its records lie in the results file among others. It is void
when it never saw what it is there to provoke, or drew a fault that never applied: a harness that breaks nothing finds
nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.bench import results
from scripts.bench.results import Record
from scripts.drills.load import percentile
from scripts.stack.deployment import MODES

#: What a campaign must have seen at least once. A group exists in stream mode alone.
SOMETIMES: Final = (
    "reclaim",
    "suppressed duplicate",
    "fenced stale finish",
    "re-dispatch",
    "group recreation",
    "poison to dead letters",
)
_IN_STREAM_ALONE: Final = frozenset({"group recreation"})


#: Of a run that could not be begun, healed or judged: tried again by RESUME, and told.
NO_VERDICT: Final = "none"


@dataclass(frozen=True)
class Campaign:
    """`runs` seeds from `seed` on."""

    seed: int
    runs: int
    modes: tuple[str, ...]  #: one after the other, an equal part of the runs each: a switch takes its time
    topology: str
    duration: float
    rate: float
    code: str  #: that ran: `machine.code`
    times: str  #: judged or printed

    @property
    def name(self) -> str:
        seeds = f"{self.seed}..{self.seed + self.runs - 1}"
        load = f"{self.duration:g}s {self.rate:g}/s"
        return f"{'+'.join(self.modes)} {self.topology} {seeds} {load} code {self.code} times {self.times}"

    def runs_in_order(self) -> list[tuple[int, str]]:
        """(seed, mode) of each run."""
        each = -(-self.runs // len(self.modes))
        return [(self.seed + number, self.modes[number // each]) for number in range(self.runs)]

    def still_to_do(self, records: Iterable[Record]) -> list[tuple[int, str]]:
        done = {(one["seed"], one["mode"]) for one in judged(records)}
        return [run for run in self.runs_in_order() if run not in done]


def modes_of(text: str) -> tuple[str, ...]:
    """MODE= of the command line; both when it is empty."""
    return (text,) if text else MODES


def load(path: Path, name: str) -> list[Record]:
    """Records of one campaign."""
    return [record for record in results.load(path) if record.get("campaign") == name]


def judged(records: Iterable[Record]) -> list[Record]:
    """Those that came to a verdict."""
    return [record for record in records if record["verdict"] != NO_VERDICT]


def never_applied(records: Iterable[Record]) -> list[str]:
    """Faults that were drawn, and broke nothing in any run."""
    drawn, applied = set(), set()
    for record in records:
        drawn |= {step["fault"] for step in record["plan"]["steps"]}
        applied |= set(record["applied"])
    return sorted(drawn - applied)


def never_seen(records: Sequence[Record]) -> list[str]:
    """What makes the campaign void."""
    wanted = [
        name
        for name in SOMETIMES
        if name not in _IN_STREAM_ALONE or any(record["mode"] == "stream" for record in records)
    ]
    return [name for name in wanted if not any(record["sometimes"].get(name) for record in records)]


@dataclass(frozen=True)
class Line:
    """One row of the table: every run that had the fault counts whole."""

    fault: str
    records: Sequence[Record]

    def sum(self, name: str) -> int:
        return sum(int(record[name]) for record in self.records)

    def recoveries(self) -> list[float]:
        found = (record["recovery_s"] for record in self.records if record["recovery_s"] is not None)
        return [float("inf") if one < 0 else float(one) for one in found]

    def text(self) -> str:
        extra, executions = self.sum("extra_executions"), self.sum("executions")
        share = f"{extra / executions:.2%}" if executions else "-"
        times = self.recoveries()
        half, longest = (f"{percentile(times, 0.5):.2f}", f"{max(times):.2f}") if times else ("-", "-")
        return (
            f"{self.fault:<20}{len(self.records):>5}{self.sum('accepted'):>10}{self.sum('lost'):>6}"
            f"{self.sum('duplicate_effects'):>7}{share:>9}{half:>9}{longest:>7}{len(times):>4}"
        )


HEADER: Final = (
    f"{'fault':<20}{'runs':>5}{'accepted':>10}{'lost':>6}{'twice':>7}{'extra':>9}{'rec. p50':>9}{'max s':>7}{'n':>4}"
)


def table(records: Sequence[Record]) -> list[str]:
    """A line for each fault that was applied, and one for all runs."""
    faults = sorted({fault for record in records for fault in record["applied"]})
    lines = [Line(fault, [one for one in records if fault in one["applied"]]) for fault in faults]
    calm = [one for one in records if not one["applied"]]
    lines += [Line("(none applied)", calm)] if calm else []
    return [HEADER, *(line.text() for line in [*lines, Line("all runs", records)])]


def verdict(campaign: Campaign, records: Sequence[Record]) -> tuple[list[str], int]:
    """The last lines, and the exit status: 0 only for a campaign that is complete, not void, and held."""
    done = judged(records)
    broken = [one for one in done if one["verdict"] != "held"]
    is_complete = len(done) >= campaign.runs
    void = [
        *(f"never saw {name}" for name in never_seen(done)),
        *(f"never applied {name}" for name in never_applied(done)),
    ]
    lines = [f"{len(done)} of {campaign.runs} runs, {len(broken)} broken ({campaign.name})"]
    if done:
        lines.append(f"each accepted {min(one['accepted'] for one in done):,} jobs or more")
    lines += [f"  broken: seed {one['seed']} in {one['mode']} mode: {'; '.join(one['broken'])}" for one in broken]
    lines += [
        f"  no verdict: seed {one['seed']} in {one['mode']} mode: {one['reason']}"
        for one in records
        if one["verdict"] == NO_VERDICT
    ]
    if void:
        lines.append(f"void: {', '.join(void)}")
    if not is_complete:
        lines.append("cut short: quote it with its count; RESUME=1 goes on")
    return lines, 0 if is_complete and not broken and not void else 1
