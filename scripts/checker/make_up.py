"""Writes a made-up history and its rows: whole, or with one defect. To try the checker, and to time it.

python3 -m scripts.checker.make_up --into FOLDER [--jobs 20000] [--seed 1] [--defect lost-row]
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.checker import defects
from scripts.checker.sample import whole


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m scripts.checker.make_up",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--into", type=Path, required=True, help="folder")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="printed")
    parser.add_argument("--defect", choices=defects.DEFECTS)
    chosen = parser.parse_args(argv)
    sample = whole(jobs=chosen.jobs, seed=chosen.seed)
    about = defects.plant(sample, chosen.defect) if chosen.defect else "none"
    sample.write(chosen.into)
    print(f"seed {sample.seed}: {len(sample.events)} events, {len(sample.rows)} rows; defect: {about}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
