"""`make failover-series [FAULT=kill] [RUNS=…] [RATE=100] [SEED=1] [RESULTS=file]`: many runs of one kind, as one table.

Does what is still missing on the running stack, in its mode and with its SENTINEL_DOWN_AFTER_MS; each run's figures are
appended to the results file at once, so that a series may be cut short and goes on by the same command. RUNS=0 prints
the table over all that the file holds.
"""

import argparse
import math
import os
import random
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.bench import machine, results
from scripts.bench.results import Figure, Record
from scripts.drills import arguments as drill
from scripts.drills import steady_state
from scripts.failover.__main__ import Run, record_of, require_fault
from scripts.failover.faults import FAULTS
from scripts.stack import command_line, console, deployment, handover
from scripts.stack.deployment import Stack

#: Runs of a fault: of those that machines do by themselves, and of all others.
RUNS_OF_COMMON: Final = 10
RUNS_OF_OTHERS: Final = 5
COMMON: Final = frozenset({"kill", "crash", "freeze"})

#: Each moment of a run makes hundreds of kilobytes over a series; `make failover REPORT=` keeps them.
_NOT_KEPT: Final = "timeline"


@dataclass(frozen=True)
class Series:
    """Runs that can be compared with each other."""

    faults: tuple[str, ...]
    runs: int | None  #: of each fault; None = as many as that fault asks for
    rate: float
    seed: int
    mode: str
    down_after_ms: int

    @property
    def name(self) -> str:
        return f"{self.mode} {self.rate:g}/s down-after {self.down_after_ms} seed {self.seed}"

    def runs_of(self, fault: str) -> int:
        if self.runs is not None:
            return self.runs
        return RUNS_OF_COMMON if fault in COMMON else RUNS_OF_OTHERS

    def still_to_do(self, records: Iterable[Record]) -> list[tuple[str, int]]:
        """(fault, number), round by round: what the machine does meanwhile meets every fault alike."""
        done = {(one["fault"], one["number"]) for one in records if one["series"] == self.name}
        order: list[tuple[str, int]] = []
        for number in range(max(map(self.runs_of, self.faults))):
            turn = [fault for fault in self.faults if number < self.runs_of(fault)]
            random.Random(f"{self.seed} {number}").shuffle(turn)
            order += [(fault, number) for fault in turn if (fault, number) not in done]
        return order

    def seed_of(self, fault: str, number: int) -> int:
        return random.Random(f"{self.seed} {fault} {number}").randrange(1_000_000)


def load(path: Path) -> list[Record]:
    """Records of every series."""
    return [record for record in results.load(path) if "series" in record]


HEADER: Final = (
    f"{'fault':<21}{'runs':>5}{'held':>5}  {'after the fault':<18}{'after the switch':<18}{'write gap':<18}"
    f"{'accepts ok':>10}  {'p99 ms':<16}{'jobs':>8}{'lost':>5}{'twice':>6}{'extra':>7}{'writes lost':>12}"
)


def table(records: Sequence[Record]) -> list[str]:
    """A block for each mode, load and setting of Sentinel; seconds as median (lowest to highest)."""
    lines = []
    for name in sorted({_kind(record) for record in records}):
        block = [record for record in records if _kind(record) == name]
        commits = sorted({str(record.get("commit", "?")) for record in block})
        lines += ["", f"{name}, of {', '.join(commits)}", HEADER]
        lines += [line(fault, some) for fault in FAULTS if (some := [one for one in block if one["fault"] == fault])]
    return lines


def _kind(record: Record) -> str:
    return f"{record['mode']} mode, {record['rate']:g} jobs/s, down-after {record['down_after_ms']} ms"


def line(fault: str, records: Sequence[Record]) -> str:
    """One fault's runs."""
    accepts = sum(one["accept_total"] for one in records)
    ok = sum(one["accept_total"] * one["accept_ok_ratio"] for one in records) / accepts if accepts else 0.0
    bounded = [one for one in records if one["bounds_writes"]]
    after_switch = [] if FAULTS[fault].counts_from or FAULTS[fault].is_many else _after_switch(records)
    return (
        f"{fault:<21}{len(records):>5}{sum(one['verdict'] == 'held' for one in records):>5}  "
        f"{_spread(since_origin(one) for one in records):<18}"
        f"{_spread(after_switch):<18}"
        f"{_spread(one['redis_write_gap_s'] for one in bounded):<18}"
        f"{ok:>10.3%}  {_spread((one['accept_p99_ms'] for one in records), digits=0):<16}"
        f"{_sum(records, 'jobs_accepted'):>8}{_sum(records, 'jobs_lost'):>5}{_sum(records, 'effects_duplicated'):>6}"
        f"{_sum(records, 'extra_executions'):>7}{_sum(bounded, 'redis_writes_lost') if bounded else '-':>12}"
    )


def _after_switch(records: Iterable[Record]) -> list[float]:
    noted = (one["recovered_after_switch_s"] for one in records)
    return [_seconds(seconds) for seconds in noted if seconds is not None]


def since_origin(record: Record) -> float:
    """Seconds from where this fault's recovery counts, or that a flow stood still in a fault of many parts; infinite
    when one never came back.
    """
    if FAULTS[record["fault"]].is_many:
        return max(_seconds(flow["interrupted_s"]) for flow in record["flows"].values())
    return max(0.0, _seconds(record["recovered_s"]) - float(record["counted_from_s"] or 0.0))


def _seconds(noted: float) -> float:
    """A record has -1 for what never came back: JSON knows no infinity."""
    return float(noted) if noted >= 0 else math.inf


def _sum(records: Iterable[Record], name: str) -> int:
    return sum(int(one[name]) for one in records)


def _spread(values: Iterable[float | None], *, digits: int = 2) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    figure = Figure.of(known)
    return f"{figure.median:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def carry_out(stack: Stack, series: Series, path: Path) -> int:
    """Exit status: 0 when all that was asked for is done and held."""
    to_do = series.still_to_do(load(path))
    for place, (fault, number) in enumerate(to_do, 1):
        steady_state.require(stack, within=120.0)
        console.say(f"\n== {place} of {len(to_do)}: {fault} number {number + 1} ({series.name})")
        results.append(path, [_one(stack, series, fault, number)], machine.facts(stack.root))
    mine = [one for one in load(path) if one["series"] == series.name]
    broken = [one for one in mine if one["verdict"] != "held"]
    for one in broken:
        console.say(
            f"broken: {one['fault']} number {one['number'] + 1}, SEED={one['seed']}: {'; '.join(one['broken'])}"
        )
    console.say(f"\n{len(mine)} runs of this series, {len(broken)} broken; {path}")
    return 1 if broken else 0


def _one(stack: Stack, series: Series, fault: str, number: int) -> dict[str, Any]:
    seed = series.seed_of(fault, number)
    figures, verdict = Run(stack, fault, rate=series.rate, seed=seed).carry_out()
    for text in figures.table(fault):
        verdict.note(text)
    verdict.status()
    record = record_of(stack, fault, rate=series.rate, seed=seed, figures=figures, verdict=verdict)
    kept = {name: value for name, value in record.items() if name != _NOT_KEPT}
    return {
        **kept,
        "series": series.name,
        "number": number,
        "down_after_ms": series.down_after_ms,
        "bounds_writes": FAULTS[fault].bounds_writes,
    }


def main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, command_line.interrupt)
    return command_line.exit_status(
        lambda: _run(argv), interrupted="interrupted; what was broken is healed, the same command goes on"
    )


def _run(argv: Sequence[str]) -> int:
    chosen = _parser().parse_args(argv)
    faults = tuple(chosen.fault.split(",")) if chosen.fault else tuple(FAULTS)
    for fault in faults:
        require_fault(fault)
    status = 0
    if chosen.runs != 0:
        handover.require_sentinels(deployment.load(drill.ROOT, env_path=chosen.env_file))
        stack = drill.stack_of(chosen)
        down_after = int(stack.value("SENTINEL_DOWN_AFTER_MS"))
        series = Series(faults, chosen.runs, chosen.rate, chosen.seed, stack.mode, down_after)
        status = carry_out(stack, series, chosen.results)
        steady_state.require(stack, within=60.0)
    for text in table(load(chosen.results)):
        console.say(text)
    return status


def _parser() -> argparse.ArgumentParser:
    made = drill.parser(__doc__ or "", jobs=0, rate=100)
    made.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1), help="of the order and of each run")
    made.add_argument(
        "--fault", default=os.environ.get("FAULT") or "", help=f"some of {', '.join(FAULTS)}; default all"
    )
    runs = os.environ.get("RUNS")
    made.add_argument(
        "--runs", type=int, default=int(runs) if runs else None, help="of each fault; 0 = the table alone"
    )
    default = os.environ.get("RESULTS") or drill.ROOT / ".state" / "failover-series.jsonl"
    made.add_argument("--results", type=Path, default=default, help="JSON lines")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
