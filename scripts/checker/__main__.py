"""Command line: judges a history and the rows that are left at its end.

python3 -m scripts.checker --history FOLDER --database rows.jsonl

Exit status 0 = every promise held, 1 = one broke, 2 = the inputs or the command line are wrong. The form of the inputs:
python3 -m pydoc scripts.checker
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.checker import history, judge, report
from scripts.checker.errors import InputInvalid
from scripts.checker.rules import RULES


def main(argv: Sequence[str]) -> int:
    chosen = _parser().parse_args(argv)
    try:
        evidence, found = judge.judge(
            chosen.history, chosen.database, clock=chosen.clock, slack=chosen.slack, skip=chosen.skip
        )
    except (InputInvalid, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in report.lines(evidence, found):
        print(line)
    return 1 if found.findings else 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python3 -m scripts.checker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--history", type=Path, nargs="+", required=True, metavar="PATH", help="files, or folders of *.jsonl"
    )
    made.add_argument(
        "--database", type=Path, nargs="+", required=True, metavar="PATH", help="files, or folders of *.jsonl"
    )
    made.add_argument(
        "--clock",
        choices=history.CLOCKS,
        default="mono",
        help="that orders events: mono (default) is one clock for all processes of a host, wall for several hosts",
    )
    made.add_argument(
        "--slack", type=float, default=5.0, help="seconds by which the database's own times may be out of order (5)"
    )
    made.add_argument(
        "--skip", choices=RULES, action="append", default=[], help="a rule that the system does not promise"
    )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
