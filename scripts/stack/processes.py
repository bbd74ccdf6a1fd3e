"""Runs argument lists that other modules build; knows nothing of what they mean."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from scripts.stack.errors import StackError

#: Seconds that a question to the Engine may take before it counts as unreachable.
QUESTION_SECONDS = 30.0


def call(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, check: bool = True
) -> int:
    """Run in the foreground, output passed through. Returns the exit status; with `check`, raises when it is not 0."""
    status = subprocess.run(argv, env=env, cwd=cwd, check=False).returncode
    if check and status != 0:
        raise StackError(f"`{_shown(argv)}` ended with status {status}.", fix="read its output above")
    return status


def log(argv: Sequence[str], output: IO[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
    """Run with standard output and error in `output`; returns the exit status."""
    done = subprocess.run(argv, env=env, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, check=False)
    return done.returncode


def read(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = QUESTION_SECONDS,
    stdin: str = "",
) -> str:
    """Standard output of a command that has to succeed; its standard error is the message when it does not."""
    try:
        done = subprocess.run(
            argv, env=env, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise StackError(f"`{argv[0]}` is not installed.", fix=f"install {argv[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise StackError(f"`{_shown(argv)}` gave no answer in {timeout:g} s.", fix=_shown(argv)) from error
    if done.returncode != 0:
        raise StackError(f"`{_shown(argv)}` failed: {done.stderr.strip()}", fix=_shown(argv))
    return done.stdout


def succeeds(argv: Sequence[str], *, timeout: float = QUESTION_SECONDS) -> bool:
    """Whether the command exits with 0 in time; its output is dropped."""
    try:
        return subprocess.run(argv, capture_output=True, timeout=timeout, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def _shown(argv: Sequence[str]) -> str:
    return " ".join(argv[:12]) + (" ..." if len(argv) > 12 else "")
