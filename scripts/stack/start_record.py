"""What the last start started, so that the next one knows what has changed.

Compose compares its own files with the containers, but not the content of what it mounts: an edited alert rule or
redis.conf would stay without effect. And it runs the one-shot `migrate` again at each start. The record answers both:
services whose mounted files changed are recreated, and a stack that is up and unchanged is left alone.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.stack import services
from scripts.stack.compose import Compose
from scripts.stack.services import Service


@dataclass(frozen=True)
class StartRecord:
    """One successful start."""

    containers: tuple[str, ...]  #: ids, sorted
    inputs: str  #: hash of what Compose makes of its files and variables
    mounts: Mapping[str, str]  #: service -> hash of the files mounted into it

    @classmethod
    def of(cls, compose: Compose) -> "StartRecord":
        """The stack as its files and the Engine say now."""
        text = compose.config()
        return cls(
            containers=tuple(sorted(service.container_id for service in services.listed(compose))),
            inputs=hashlib.sha256(text.encode()).hexdigest(),
            mounts=mount_hashes(json.loads(text)),
        )

    @classmethod
    def load(cls, path: Path) -> "StartRecord | None":
        """The record of the last start; None before the first one or when its format is another version's."""
        try:
            fields = json.loads(path.read_text())
            return cls(tuple(fields["containers"]), fields["inputs"], fields["mounts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def stale_services(self, last: "StartRecord | None") -> list[str]:
        """Services that run with other mounted files than they were started with."""
        if last is None:
            return []
        return [name for name, found in self.mounts.items() if last.mounts.get(name, found) != found]


def is_unchanged(now: StartRecord, last: StartRecord | None, listed: Iterable[Service]) -> bool:
    """Whether every container of the last start is there and well, and nothing it was made from has changed."""
    return now == last and bool(now.containers) and all(service.is_well for service in listed)


def mount_hashes(config: Mapping[str, Any]) -> dict[str, str]:
    """Service -> hash of the files that `compose config` mounts into it."""
    return {name: content_hash(mounted_files(service)) for name, service in config["services"].items()}


def record_path(compose: Compose) -> Path:
    return compose.stack.state_path.with_name("start.json")


def mounted_files(service: Mapping[str, Any]) -> list[Path]:
    """Files below the host paths that a service mounts."""
    sources = [Path(volume["source"]) for volume in service.get("volumes") or [] if volume["type"] == "bind"]
    below = [source.rglob("*") if source.is_dir() else [source] for source in sources]
    return sorted(path for paths in below for path in paths if path.is_file())


def content_hash(paths: Iterable[Path]) -> str:
    """A hash over names and contents."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
