"""What Compose says of the services of a stack, and which of them are not well."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from scripts.stack.compose import Compose

#: Compose writes it before each log line, even into a pipe.
_CLEAR_LINE: Final = "\x1b[2K"


@dataclass(frozen=True)
class Service:
    """One container of a stack."""

    name: str
    container: str
    container_id: str
    state: str  #: created, running, paused, restarting, exited, dead
    health: str  #: healthy, unhealthy, starting, or empty without a check
    exit_code: int

    @property
    def is_well(self) -> bool:
        """Running and not known to be ill, or a one-shot that ended with 0."""
        if self.state == "running":
            return self.health in {"", "healthy"}
        return self.state == "exited" and self.exit_code == 0

    @property
    def has_failed(self) -> bool:
        """Ill by itself, as opposed to still starting or waiting for another."""
        ended_badly = self.state == "exited" and self.exit_code != 0
        return ended_badly or self.state in {"restarting", "dead", "paused"} or self.health == "unhealthy"

    def sentence(self) -> str:
        detail = self.health if self.state == "running" else f"exit code {self.exit_code}"
        return f"{self.name}: {self.state}{f' ({detail})' if detail else ''}"


def listed(compose: Compose) -> list[Service]:
    """All containers of the stack, stopped ones too."""
    return parsed(compose.read(compose.ps("--all", "--format", "json")))


def parsed(output: str) -> list[Service]:
    """Compose prints one object per line since 2.21, and an array before."""
    text = output.strip()
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return [_service(row) for row in rows]


def culprits(services: Iterable[Service]) -> list[Service]:
    """Those that failed by themselves; when there is none, those that are not well yet."""
    ill = [service for service in services if not service.is_well]
    return [service for service in ill if service.has_failed] or ill


def last_log_lines(compose: Compose, service: Service, *, lines: int = 15) -> str:
    text = compose.read(compose.logs("--no-color", "--no-log-prefix", "--tail", str(lines), service.name))
    return text.replace(_CLEAR_LINE, "")


def _service(row: dict[str, Any]) -> Service:
    return Service(
        name=row["Service"],
        container=row["Name"],
        container_id=row["ID"][:12],
        state=row["State"],
        health=row.get("Health", ""),
        exit_code=row.get("ExitCode", 0),
    )
