"""Argument lists for Docker Compose. Building is apart from running, so that every call can be tested as a list."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.stack import console, processes
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

_LOG_LINES_SHOWN: Final = 12


@dataclass(frozen=True)
class Compose:
    """Compose of one stack. Methods that start with a verb of Compose return argv; `call` and `read` run one."""

    tool: tuple[str, ...]  #: ("docker", "compose") or the path of a standalone binary
    stack: Stack
    profiles: tuple[str, ...] = ()

    def argv(self, *arguments: str) -> list[str]:
        """The whole command line: directory, project, env files (a later one wins), compose files, profiles."""
        stack = self.stack
        line = [
            *self.tool,
            "--ansi",
            "auto" if sys.stdout.isatty() else "never",
            "--project-directory",
            str(stack.root),
            "--project-name",
            stack.project,
        ]
        mode_file = stack.root / "config" / "env" / f"{stack.mode}.env"
        for path in (stack.env_path, mode_file, stack.state_path):
            if path.is_file():
                line += ["--env-file", str(path)]
        for name in stack.compose_files:
            line += ["--file", str(stack.root / name)]
        for profile in self.profiles:
            line += ["--profile", profile]
        return [*line, *arguments]

    def up(self, *, wait_seconds: int) -> list[str]:
        return self.argv("up", "--detach", "--remove-orphans", "--wait", "--wait-timeout", str(wait_seconds))

    def recreate(self, names: Sequence[str]) -> list[str]:
        """Replace the containers of these services, and of no service that they depend on."""
        return self.argv("up", "--detach", "--no-deps", "--force-recreate", *names)

    def down(self, *, volumes: bool = False) -> list[str]:
        return self.argv("down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def ps(self, *arguments: str) -> list[str]:
        return self.argv("ps", *arguments)

    def logs(self, *arguments: str) -> list[str]:
        return self.argv("logs", *arguments)

    def config(self) -> str:
        """What Compose makes of its files and variables, as JSON. Raises StackError with what it cannot read."""
        try:
            return self.read(self.argv("config", "--format", "json"))
        except StackError as error:
            reason = error.what.rpartition("failed: ")[2]
            fix = f"correct the value in {self.stack.env_path} (.env.example shows each default), then: make up"
            raise StackError(f"Compose cannot read this stack's settings: {reason}", fix=fix) from error

    def environment(self) -> Mapping[str, str]:
        """The process environment without what the stack's own files decide, because Compose lets a variable of the
        shell win over every env file: a REDIS_IMAGE exported for another stack must not reach this one."""
        decided = self.stack.state_lines().keys() | {"COMPOSE_PROFILES", "COMPOSE_ENV_FILES"}
        if not self.stack.is_default:
            decided |= self.stack.values.keys()
        return {name: value for name, value in os.environ.items() if name not in decided}

    @property
    def log_path(self) -> Path:
        """Where Compose's own output goes when a step shows a clock in its place."""
        return self.stack.root / ".state" / self.stack.project / "compose.log"

    def call_quietly(self, argv: list[str]) -> int:
        """Run with its output in `log_path`; returns the exit status, and shows the output's end when it is not 0."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("w") as output:
            status = processes.log(argv, output, env=self.environment(), cwd=self.stack.root)
        if status != 0:
            console.warn("\n".join(self.log_path.read_text().splitlines()[-_LOG_LINES_SHOWN:]))
        return status

    def call(self, argv: list[str], *, check: bool = True) -> int:
        return processes.call(argv, env=self.environment(), cwd=self.stack.root, check=check)

    def read(self, argv: list[str]) -> str:
        return processes.read(argv, env=self.environment(), cwd=self.stack.root)
