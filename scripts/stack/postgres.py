"""The Postgres of a stack, asked by psql inside its container: no client, no published port, no password."""

from dataclasses import dataclass

from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError


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
        containers = Containers(self.stack.project)
        if not containers.ids("postgres", running=True):
            raise StackError(f"{self.stack.project} does not run: no container of postgres.", fix="make up")
        user, database = self.stack.value("POSTGRES_USER"), self.stack.value("POSTGRES_DB")
        argv = ["psql", "--quiet", *options, "--username", user, "--dbname", database, "--variable=ON_ERROR_STOP=1"]
        return containers.run_in(
            "postgres", *argv, *(f"--variable={name}={value}" for name, value in variables.items()), stdin=script
        )
