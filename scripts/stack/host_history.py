"""What the tools on the host ask of a stack and do to it, written down as its processes do when HOLDFAST_HISTORY=1.

Off, every call returns at once. One file per process, one append per event. `scripts.checker` says the form.
"""

import itertools
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from scripts.stack.deployment import Stack


def folder(stack: Stack) -> Path:
    """Where the files of this host's tools lie."""
    return stack.root / ".state" / stack.project / "history"


class _Log:
    """The file of this process."""

    path: Path | None = None  #: None = off
    actor: str = ""
    calls: Iterator[int] = itertools.count(1)


def start(stack: Stack) -> None:
    """Writes down from now on, if this stack does."""
    if stack.value("HOLDFAST_HISTORY") != "1":
        return
    _Log.actor = f"host-{os.getpid()}-{uuid.uuid4().hex[:4]}"
    _Log.path = folder(stack) / f"{_Log.actor}.jsonl"


def stop() -> None:
    """Writes down no more."""
    _Log.path = None


def begins(op: str, **members: object) -> int:
    """Number of the call that now begins; to give to `ended`."""
    if _Log.path is None:
        return 0
    call = next(_Log.calls)
    _append("invoke", op, {"call": call, **members})
    return call


def ended(type_: str, op: str, call: int, **members: object) -> None:
    """How a call ended: ok, fail, or info when nobody knows."""
    _append(type_, op, {"call": call, **members})


def fault(name: str, *targets: str) -> None:
    """Something was broken, or healed."""
    _append("ok", "fault", {"fault": name, "target": " ".join(targets) or "all"})


def _append(type_: str, op: str, members: dict[str, object]) -> None:
    if _Log.path is None:
        return
    head = {"type": type_, "op": op, "actor": _Log.actor, "mono": time.monotonic(), "wall": time.time()}
    line = json.dumps({**head, **members}, default=str, separators=(",", ":")) + "\n"
    _Log.path.parent.mkdir(parents=True, exist_ok=True)  # `make history CLEAR=1` takes it away
    with _Log.path.open("ab", buffering=0) as file:
        file.write(line.encode())
