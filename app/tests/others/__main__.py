"""`python -m tests.others [--fault …] [--system …] --seed 7 [--runs 3]`: one JSON record per line on standard output.

All systems run side by side over the same servers, so that a fault meets all at the same instant, under the script of
the seed each. A further run is the next seed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.others.faults import FAULTS
from tests.others.run import Record, by_name, run
from tests.others.systems import SYSTEMS, prepare, versions
from tests.others.world import World


def main() -> None:
    arguments = _parser().parse_args()
    systems = [system for system in SYSTEMS if not arguments.system or system.name in arguments.system]
    with tempfile.TemporaryDirectory(prefix="holdfast-others-", ignore_cleanup_errors=True) as name:
        world = World(Path(name))
        try:
            world.start()
            for system in systems:
                prepare(system, world, Path(name))
            emit({"shape": "facts", **world.facts()})
            for system in systems:
                emit(
                    {"shape": "system", "name": system.name, "versions": versions(system), "settings": system.settings}
                )
            for seed in range(arguments.seed, arguments.seed + arguments.runs):
                for fault in by_name(arguments.fault or []):
                    began = time.monotonic()
                    for record in run(fault, systems, seed=seed, world=world, parent=Path(name)):
                        emit(record)
                    sys.stderr.write(f"  {fault.name}, seed {seed}: {time.monotonic() - began:.0f} s\n")
        finally:
            world.stop()


def emit(record: Record) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--fault", choices=[fault.name for fault in FAULTS], action="append")
    made.add_argument("--system", choices=[system.name for system in SYSTEMS], action="append")
    made.add_argument("--seed", type=int, required=True)
    made.add_argument("--runs", type=int, default=1)
    return made


if __name__ == "__main__":
    os.umask(0o022)
    main()
