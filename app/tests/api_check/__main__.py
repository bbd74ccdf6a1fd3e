"""Runs the check and prints, per operation, how many answers were 2xx. Exit code 1 when it is not clean."""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

from tests.api_check.report import Tally
from tests.api_check.run import SCOPES, Run
from tests.servers.plugin import Servers
from tests.servers.process import free_port
from tests.servers.web import WebProcess

#: Operations whose share of 2xx shows whether the document tells a client how to be understood.
WATCHED = ("POST /api/v1/jobs", "POST /api/v1/jobs/bulk")
WATCHED_SHARE = 0.30


def main() -> int:
    """Exit code: 0 clean, 1 not."""
    options = _options()
    say(f"seed {options.seed}: repeat with --seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="holdfast-api-check-", ignore_cleanup_errors=True) as name:
        parent = Path(name)
        parent.chmod(0o755)
        servers = Servers(parent)
        try:
            return _check(parent, servers, options)
        finally:
            servers.stop()


def _check(parent: Path, servers: Servers, options: argparse.Namespace) -> int:
    servers.postgres.start()
    servers.redis.start()
    os.environ.update(servers.environment())
    web = WebProcess(parent=parent, port=free_port(), environment=servers.environment())
    web.prepare()
    web.start()
    try:
        failed = []
        total = Tally()
        single = () if options.only_all_scopes else tuple((scope,) for scope in SCOPES)
        for scopes in (SCOPES, *single):
            run = Run(web, scopes=scopes, cases=options.cases, seed=options.seed, folder=options.keep or parent)
            if not run.is_clean():
                failed.append("+".join(scopes))
            if scopes == SCOPES:
                total = run.tally()
        say(total.table())
        return _verdict(total, failed)
    finally:
        web.stop()


def _verdict(tally: Tally, failed: list[str]) -> int:
    low = [name for name in WATCHED if tally.share_of_success(name) < WATCHED_SHARE]
    if failed:
        say(f"not clean with the key of scope {', '.join(failed)}")
    if low:
        say(f"fewer than {WATCHED_SHARE:.0%} of the answers are 2xx: {', '.join(low)}")
    if not failed and not low:
        say("clean")
    return 1 if failed or low else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.api_check", description=__doc__)
    parser.add_argument("--cases", type=int, default=100, help="cases per operation and key")
    parser.add_argument("--only-all-scopes", action="store_true", help="skip the runs with one scope each")
    parser.add_argument("--keep", type=Path, help="folder to keep schemathesis' events in")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="to repeat a run")
    return parser.parse_args()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
