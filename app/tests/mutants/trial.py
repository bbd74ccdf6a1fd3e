"""One run of checks over one tree, in a pytest of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

#: Seconds one run may take.
LIMIT_SECONDS: Final = 900

#: What a check raises that has seen something: its assertion, or pytest's `Failed`. Any other error is a crash, which
#: says of no promise that it is broken.
TESTIMONY: Final = frozenset({"AssertionError", "Failed"})

#: An assertion, too, and no testimony: a wait that ran out, which `make test` would try again. What never comes about
#: is told by rounds that are counted, as those of the interleavings' drain are, and by an assertion behind them.
WAIT_RAN_OUT: Final = "DidNotHappen"

#: In the words of a `Failed` that is a hang, ended by pytest-timeout.
HANG: Final = "from pytest-timeout"


class TrialFailed(Exception):
    """The checks themselves did not run; the message is what pytest said."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that failed, and the first line of why."""

    check: str  #: pytest id
    why: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What the checks said."""

    passed: frozenset[str]
    findings: Sequence[Finding]
    broken: Sequence[str]  #: what did not run to an answer: errors around a check, skips, crashes, waits and hangs


def run(
    app: Path, checks: Iterable[str], *, seed: int, report: Path, repository: Path, lane: int = 0, processes: int = 0
) -> Trial:
    """Runs the checks on the tree `app`, beside what `repository` holds. Each of the trials at one time has a `lane`.

    Raises TrialFailed.
    """
    command = (
        *(sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"),
        *(("-n", str(processes), "--dist", "worksteal") if processes else ()),
        *("-p", "tests.mutants.witness", f"--witness={report}", "--hypothesis-profile=unshortened", *checks),
    )
    environment = {**os.environ, "HOLDFAST_SEED": str(seed), "HOLDFAST_REPOSITORY": str(repository)}
    # By it the servers of a session choose their ports.
    environment["PYTEST_XDIST_WORKER"] = f"gw{lane}"
    done = subprocess.run(
        command, cwd=app, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    trees = {line["app"] for line in lines if "app" in line}
    if done.returncode not in (0, 1) or trees != {str(app)}:
        raise TrialFailed(f"pytest ended with {done.returncode}, over {trees or 'nothing'}:\n{done.stdout[-4000:]}")
    return judged([line for line in lines if "check" in line])


def judged(lines: Sequence[Mapping[str, Any]]) -> Trial:
    """What the witness's lines come to."""
    findings = [
        Finding(line["check"], _why(line))
        for line in lines
        if line["outcome"] == "failed" and line["when"] == "call" and _is_testimony(line)
    ]
    seen = {(finding.check, finding.why) for finding in findings}
    caught = {finding.check for finding in findings}
    broken = [
        f"{line['check']}: {line['outcome']} in {line['when']}: {_why(line)}"
        for line in lines
        if line["outcome"] != "passed"
        and (line["check"], _why(line)) not in seen
        and not (line["when"] == "teardown" and line["check"] in caught)  # what it caught is still in the rows
    ]
    return Trial(frozenset(line["check"] for line in lines if line["outcome"] == "passed"), findings, broken)


def _is_testimony(line: Mapping[str, Any]) -> bool:
    if WAIT_RAN_OUT in line["error"] or HANG in line["said"]:
        return False
    return not TESTIMONY.isdisjoint(line["error"])


def _why(line: Mapping[str, Any]) -> str:
    names = line.get("error", [""])
    return line.get("said", "") if "AssertionError" in names else f"{names[0]}: {line.get('said', '')}"
