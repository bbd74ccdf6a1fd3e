"""The Postgres of a stack, asked by psql inside its container: no client, no published port, no password."""

import subprocess
from dataclasses import dataclass
from typing import Final

from scripts.stack import processes
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

_ANSWER_SECONDS: Final = 120.0
_END: Final = "-- end of the answer --"


@dataclass(frozen=True)
class Postgres:
    """Runs scripts of psql; `:'name'` in one is a variable. Raises StackError while nobody answers."""

    stack: Stack

    def rows(self, script: str, **variables: str) -> list[str]:
        """Rows without any white space in them, columns separated by `|`."""
        return self.lines(script, **variables).split()

    def lines(self, script: str, **variables: str) -> str:
        """Rows as they stand, one per line."""
        return self._run(script, "--no-align", "--tuples-only", **variables)

    def tables(self, script: str, **variables: str) -> str:
        """What psql shows a human."""
        return self._run(script, **variables)

    def _run(self, script: str, *options: str, **variables: str) -> str:
        values = (f"--variable={name}={value}" for name, value in variables.items())
        return processes.read(_psql(self.stack, *options, *values), stdin=script, timeout=_ANSWER_SECONDS)


class Session:
    """A psql that stays, for who asks many times while it measures: a question starts no process.

    Raises StackError when it has ended, as at an error in what it was asked. One thread at a time.
    """

    def __init__(self, stack: Stack) -> None:
        self._process = subprocess.Popen(
            _psql(stack, "--no-align", "--tuples-only"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def rows(self, script: str, **variables: str) -> list[str]:
        """As `Postgres.rows`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        given = "".join(f"\\set {name} {_quoted(value)}\n" for name, value in variables.items())
        try:
            self._process.stdin.write(f"{given}{script}\n\\echo {_quoted(_END)}\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise StackError(f"psql has ended: {error}.", fix="make ps") from error
        found: list[str] = []
        for line in self._process.stdout:
            if line.rstrip("\n") == _END:
                return found
            found += line.split()
        raise StackError("psql ended without an answer.", fix="make ps")

    def close(self) -> None:
        """From any thread: a question that waits for its answer ends, too."""
        self._process.terminate()
        self._process.wait()


def _psql(stack: Stack, *options: str) -> list[str]:
    run = ["docker", "exec", "--interactive", Containers(stack.project).running("postgres")]
    user, database = stack.value("POSTGRES_USER"), stack.value("POSTGRES_DB")
    return [*run, "psql", "--quiet", *options, "--username", user, "--dbname", database, "--variable=ON_ERROR_STOP=1"]


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
