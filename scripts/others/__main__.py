"""`make others [RUNS=1] [SEED=7] [ONLY=dramatiq,holdfast-stream] [FAULT=redis-flush,worker-kill]`: other people's
systems and Holdfast under the same seeded load and the same faults.

Everything runs in the test image, on servers of its own: one Postgres, three Redis, three Sentinels. Accepted = the
transaction with the request's row committed and the call that enqueues returned. Every job inserts one effect in a
transaction of its own; what counts is effects. A further run is the next seed. Exit status 1 when Holdfast loses an
accepted job or applies an effect twice.
"""

import argparse
import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from scripts.bench import machine, results
from scripts.others import tables, verdict
from scripts.others.verdict import Cell, Record
from scripts.stack import command_line, console, deployment, test_container
from scripts.stack.errors import StackError
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox

ROOT: Final = Path(__file__).resolve().parents[2]


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    signal.signal(signal.SIGTERM, command_line.interrupt)
    return command_line.exit_status(_run, interrupted="interrupted; nothing of it is left")


def _run() -> int:
    seed = _number("SEED", default=random.SystemRandom().randrange(1_000_000))
    facts = machine.facts(ROOT)
    console.say("  ".join(f"{name}: {value}" for name, value in facts.items()))
    cells: list[Cell] = []
    told: list[Record] = []
    try:
        for record in _records(seed, runs=_number("RUNS", default=1)):
            if record["shape"] == "evidence":
                cells.append(verdict.judged(record, _folder(record)))
            else:
                told.append(record)
                console.say(_described(record))
    finally:  # what was judged before an error or Ctrl-C stands
        for line in tables.lines(cells):
            console.say(line)
        results.append(ROOT / ".state" / "others.jsonl", [one.record() for one in cells], {**facts, "told": told})
    if not cells:
        raise StackError("No fault that was asked for reaches a system that was asked for.", fix="make others")
    return _verdict(cells, seed)


def _verdict(cells: Sequence[Cell], seed: int) -> int:
    broken = [one for one in cells if one.is_ours and one.broke_its_promise]
    console.say(f"\nseed {seed}; {len(cells)} records appended to .state/others.jsonl")
    for one in broken:
        folder = _folder(one.record()).relative_to(ROOT)
        skipped = " ".join(f"--skip {rule}" for rule in verdict.SKIPPED)
        console.say(f"{one.system} broke its promise under {one.fault}, seed {one.seed}:")
        console.say(
            f"  python3 -m scripts.checker --history {folder}/history.jsonl --database {folder}/rows.jsonl {skipped}"
        )
    return command_line.FAILED if broken else 0


def _records(seed: int, *, runs: int) -> Iterator[Record]:
    """As they come. Raises StackError."""
    image = ImageStore(deployment.load(ROOT), Toolbox(ROOT / ".tools")).ensure_tests()
    command = ["python", "-m", "tests.others", "--seed", str(seed), "--runs", str(runs)]
    for option, variable in (("--system", "ONLY"), ("--fault", "FAULT")):
        command += [word for name in _names(variable) for word in (option, name)]
    shutil.rmtree(ROOT / ".state" / "others", ignore_errors=True)
    return test_container.records(ROOT, image, command, name=f"holdfast-others-{os.getpid()}")


def _folder(record: Record) -> Path:
    """Where the evidence of the last `make others` lies."""
    return ROOT / ".state" / "others" / str(record["seed"]) / str(record["fault"]) / str(record["system"])


def _described(record: Record) -> str:
    if record["shape"] == "system":
        return f"  {record['name']}: {record['versions']}; {record['settings']}"
    servers = {name: values for name, values in record.items() if isinstance(values, dict)}
    return "\n".join(
        f"  {name}: " + ", ".join(f"{key} {one}" for key, one in values.items()) for name, values in servers.items()
    )


def _names(variable: str) -> list[str]:
    return [name for name in (os.environ.get(variable) or "").split(",") if name]


def _number(variable: str, *, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise StackError(f"{variable}={text} is no number.", fix="make others SEED=7 RUNS=1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
