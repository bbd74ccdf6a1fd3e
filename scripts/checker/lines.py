"""Reads JSON Lines. Knows no meaning."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.checker.errors import InputInvalid


class Line(NamedTuple):
    """An object and where it stands."""

    value: dict[str, Any]
    place: str  #: file:line


def read(path: Path) -> Iterator[Line]:
    """Every whole line. Raises InputInvalid for one that is no object, and OSError."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                return  # cut off with the process that wrote it
            if raw.strip():
                yield Line(_parsed(raw, f"{path}:{number}"), f"{path}:{number}")


def files(paths: list[Path]) -> list[Path]:
    """The files themselves, and every *.jsonl below folders. Raises InputInvalid when there is none."""
    found = [one for path in paths for one in (sorted(path.rglob("*.jsonl")) if path.is_dir() else [path])]
    if not found:
        raise InputInvalid(f"{', '.join(map(str, paths)) or 'nothing'}: holds no *.jsonl")
    return found


def _parsed(raw: bytes, place: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise InputInvalid(f"{place}: is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputInvalid(f"{place}: is no object")
    return value
