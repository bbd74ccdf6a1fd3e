"""The work of the sample consumers: one line in a file per beginning and per effect, so that no flush erases it."""

import json
import time
from collections import Counter
from pathlib import Path


def task(item: str, *, due: float = 0.0) -> str:
    """What a producer puts into the stream; `due` in Unix seconds."""
    return json.dumps({"item": item, "due": due})


def do(folder: Path, raw: str) -> None:
    """Begins, waits until the task is due and nobody holds the work, applies the effect."""
    loaded = json.loads(raw)
    _append(folder / "begun", loaded["item"])
    time.sleep(max(0.0, loaded["due"] - time.time()))
    while (folder / "hold").exists():
        time.sleep(0.02)
    _append(folder / "applied", loaded["item"])


def count(folder: Path, what: str) -> Counter[str]:
    """item -> how often it was `begun` or `applied`."""
    path = folder / what
    return Counter(path.read_text().splitlines() if path.exists() else [])


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")
