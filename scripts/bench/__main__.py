"""`make bench [ROUNDS=5] [ONLY=queue,submit,accept,growth,watcher,stack]`: `python3 -m scripts.bench`.

Without ONLY: queue, submit and accept. `stack` measures the running stack; for the others servers and contenders run in
the test image, on loopback, with their data on a volume of this host's disk: a commit waits for a real fsync. Nothing
is pinned: load and servers share all cores, for every contender alike.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from scripts.bench import machine, on_stack, results, tables
from scripts.bench.results import Record
from scripts.stack import console, deployment, test_container
from scripts.stack.errors import StackError
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox

ROOT: Final = Path(__file__).resolve().parents[2]

_STACK: Final = "stack"

#: Where the volume lies inside the container.
_DISK: Final = "/bench"


def main() -> int:
    """Measure, print the tables, append the records to .state/bench.jsonl."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        rounds = _rounds(os.environ.get("ROUNDS") or "5")
        facts = machine.facts(ROOT)
        console.say("  ".join(f"{name}: {value}" for name, value in facts.items()))
        records = _measure(rounds, [part for part in (os.environ.get("ONLY") or "").split(",") if part])
    except StackError as error:
        console.warn(f"error: {error}")
        return 1
    servers = [one for one in records if one["shape"] == "facts"]
    measured = [one for one in records if one not in servers]
    results.append(ROOT / ".state" / "bench.jsonl", measured, {**facts, "servers": servers})
    for line in (*map(_durability, servers), *tables.lines(measured)):
        console.say(line)
    console.say(f"\n{len(measured)} records appended to .state/bench.jsonl")
    return 0


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise StackError(f"ROUNDS={text} is no number of rounds.", fix="make bench ROUNDS=5")
    return int(text)


def _measure(rounds: int, only: list[str]) -> list[Record]:
    """`stack` needs a running stack, and runs only when it is asked for."""
    records = on_stack.measure(ROOT, deployment.load(ROOT)) if _STACK in only else []
    contained = [part for part in only if part != _STACK]
    return records + (_in_test_image(rounds, contained) if contained or not only else [])


def _in_test_image(rounds: int, only: list[str]) -> list[Record]:
    image = ImageStore(deployment.load(ROOT), Toolbox(ROOT / ".tools")).ensure_tests()
    command = ["python", "-m", "tests.bench", "--disk", _DISK, "--rounds", str(rounds)]
    command += [word for part in only for word in ("--only", part)]
    name = f"holdfast-bench-{os.getpid()}"
    return list(test_container.records(ROOT, image, command, name=name, disk=_DISK))


def _durability(servers: Record) -> str:
    postgres, redis, disk = servers["postgres"], servers["redis"], servers["fdatasync_ms"]
    return (
        f"\nPostgres {postgres['server_version'].split()[0]}: fsync {postgres['fsync']}, synchronous_commit "
        f"{postgres['synchronous_commit']}, fdatasync of 8 KiB {disk['p50']:.2f} ms (p99 {disk['p99']:.2f}); "
        f"Redis {redis['version']}: AOF {redis['appendfsync']}"
    )


if __name__ == "__main__":
    sys.exit(main())
