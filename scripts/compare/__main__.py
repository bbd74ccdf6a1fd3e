"""`make failover-compare [FAULT=kill|freeze] [RATE=100]`: what the same fault under the same load does to a stock
Celery app, with default settings and with those that are commonly advised, beside ours.

The stock app has three Redis and three Sentinels of its own, configured as ours. Our figures are those of the running
stack, which is broken first; where none runs, of the last `make failover` with this fault and load.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from scripts.bench import machine, results
from scripts.compare import stock, throwaway
from scripts.compare.stock import StockFigures
from scripts.drills import arguments as drill
from scripts.failover import __main__ as failover
from scripts.failover.figures import ARTICLE_SECONDS, STOCK_COLUMN
from scripts.stack import command_line, console, deployment
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

SETTINGS: Final = ("default", "advised")
#: What ours sets and a stock app does not reach: seconds after +switch-master.
_NONE: Final = "-"

Record = dict[str, Any]


def compare(stack: Stack, *, fault: str, rate: float, seed: int) -> int:
    """Prints both side by side. Exit status of our own run, 0 when there was none."""
    root = stack.root
    status = failover.run(stack, fault, rate=rate, seed=seed) if can_break(stack) else 0
    ours = last_record(root / ".state" / "failover.jsonl", fault, rate)
    theirs = []
    for settings in SETTINGS:
        with throwaway.six_nodes(root, f"{stack.project}-stock") as (nodes, image):
            theirs.append(stock.run(nodes, image, settings=settings, fault=fault, rate=rate))
    for line in table(fault, rate, theirs, ours):
        console.say(line)
    records = [stock_record(fault, rate, figures) for figures in theirs]
    results.append(root / ".state" / "failover-stock.jsonl", records, machine.facts(root))
    return status


def table(fault: str, rate: float, theirs: Sequence[StockFigures], ours: Record | None) -> list[str]:
    """One row per figure; columns: stock default, stock advised, ours. All at the same `rate`."""
    heads = [*(f"stock, {one.settings}" for one in theirs), "ours"]
    rows = [_column(one) for one in theirs]
    last = our_column(ours) if ours else dict.fromkeys(rows[0], _NONE)
    lines = [f"{f'FAULT={fault} RATE={rate:g}':<34}" + "".join(f"{head:>22}" for head in heads)]
    for name in rows[0]:
        lines.append(f"{name:<34}" + "".join(f"{column[name]:>22}" for column in (*rows, last)))
    lines.append(f"{'the article: after +switch-master':<34}{ARTICLE_SECONDS:>20g} s")
    if ours is None:
        again = f"make failover-compare FAULT={fault} RATE={rate:g}"
        lines.append(f"ours: no stack runs and none was recorded at this load; make up, then: {again}")
    else:
        lines.append(f"ours: measured {ours['at']} at commit {ours['commit']}, {ours['rate']:g} jobs/s, {ours['mode']}")
    return lines


def _column(one: StockFigures) -> dict[str, str]:
    return {
        "+switch-master after the fault": seconds(one.switched),
        "tasks flow again after the fault": seconds(one.recovered),
        STOCK_COLUMN: seconds(one.after_switch),
        "submits in the window, ok": f"{one.calls_ok} of {one.calls}",
        "... refused": str(sum(one.refusals.values())),
        "... hung until it was healed": str(one.calls_hung),
        "... slowest that came back": f"{one.slowest:.2f} s",
        "accepted, and never ran": f"{one.never_ran} of {one.accepted}",
        "accepted, and ran twice": str(one.ran_twice),
    }


def our_column(record: Record) -> dict[str, str]:
    """Ours in the same words; `never ran` and `twice` are of jobs and of their effects."""
    ok = round(record["accept_ok_ratio"] * record["accept_total"])
    return {
        "+switch-master after the fault": seconds(record["switch_master_s"]),
        "tasks flow again after the fault": seconds(record["recovered_s"]),
        STOCK_COLUMN: seconds(record["recovered_after_switch_s"]),
        "submits in the window, ok": f"{ok} of {record['accept_total']}",
        "... refused": str(record["accept_total"] - ok),
        "... hung until it was healed": "0",
        "... slowest that came back": f"{record['accept_max_ms'] / 1000:.2f} s",
        "accepted, and never ran": f"{record['jobs_lost']} of {record['jobs_accepted']}",
        "accepted, and ran twice": str(record["effects_duplicated"]),
    }


def seconds(value: float | None) -> str:
    """None and -1 (JSON's for "never"): not while it was watched."""
    return f"not within {stock.WATCH_SECONDS:g} s" if value is None or value < 0 else f"{value:.2f} s"


def stock_record(fault: str, rate: float, one: StockFigures) -> Record:
    return {"fault": fault, "rate": rate, "settings": one.settings, **_column(one), "refusals": dict(one.refusals)}


def last_record(path: Path, fault: str, rate: float) -> Record | None:
    """The newest line of the report file about this fault under this load."""
    fitting = [one for one in results.load(path) if one["fault"] == fault and one["rate"] == rate]
    return fitting[-1] if fitting else None


def can_break(stack: Stack) -> bool:
    """Whether there is a stack of ours that has somebody to take over."""
    return stack.topology == "sentinel" and bool(Containers(stack.project).ids("web", running=True))


def main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, command_line.interrupt)
    return command_line.exit_status(lambda: _run(argv), interrupted="interrupted; what was broken is healed")


def _run(argv: Sequence[str]) -> int:
    chosen = _parser().parse_args(argv)
    if chosen.fault not in stock.FAULTS:
        raise StackError(
            f"FAULT={chosen.fault} is not compared; {' and '.join(stock.FAULTS)} are.",
            fix="make failover-compare FAULT=kill",
        )
    stack = deployment.load(drill.ROOT, env_path=chosen.env_file.resolve() if chosen.env_file else None)
    if can_break(stack):
        stack = drill.stack_of(chosen)
    return compare(stack, fault=chosen.fault, rate=chosen.rate, seed=chosen.seed)


def _parser() -> argparse.ArgumentParser:
    made = drill.parser(__doc__ or "", jobs=0, rate=100)
    drill.add_seed(made)
    made.add_argument("--fault", default=os.environ.get("FAULT") or "kill", help=", ".join(stock.FAULTS))
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
