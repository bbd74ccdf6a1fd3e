"""What the figures were measured on."""

import hashlib
import os
import platform
import re
import time
from pathlib import Path
from typing import Any, Final

from scripts.stack import processes

#: What changes without a change of what runs.
_WORDS: Final = ("docs/", "README.md", "CHANGELOG.md", ".ci/")
_NO_CODE: Final = tuple(f":!{path}" for path in _WORDS)


def facts(root: Path) -> dict[str, Any]:
    """Commit, code, processor, cores, memory, kernel, Engine, and how busy the machine was before the run."""
    return {
        "commit": _commit(root),
        "code": code(root),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _first(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text()),
        "cores": os.cpu_count(),
        "memory_gib": round(int(_first(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())) / 2**20, 1),
        "kernel": platform.release(),
        "engine": processes.read(["docker", "version", "--format", "{{.Server.Version}}"]).strip(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def code(root: Path) -> str:
    """Names what is built and run, whatever becomes of the words and results beside it; + = not committed."""
    if not _is_repository(root):
        return "unknown"
    listed = _git(root, "ls-tree", "-r", "HEAD").splitlines()
    kept = [line for line in listed if not line.split("\t")[1].startswith(_WORDS)]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:12] + _mark(root, *_NO_CODE)


def _commit(root: Path) -> str:
    return _git(root, "rev-parse", "--short=12", "HEAD") + _mark(root) if _is_repository(root) else "unknown"


def _is_repository(root: Path) -> bool:
    return processes.succeeds(["git", "-C", str(root), "rev-parse"])


def _mark(root: Path, *excluded: str) -> str:
    return "+" if _git(root, "status", "--porcelain", "--", ".", *excluded) else ""


def _git(root: Path, *argv: str) -> str:
    return processes.read(["git", "-C", str(root), *argv]).strip()


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.M)
    return match[1].strip() if match else "0"
