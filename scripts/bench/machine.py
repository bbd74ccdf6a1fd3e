"""What the figures were measured on."""

import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from scripts.stack import processes


def facts(root: Path) -> dict[str, Any]:
    """Commit, processor, cores, memory, kernel, Engine, and how busy the machine was before the run."""
    return {
        "commit": _commit(root),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _first(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text()),
        "cores": os.cpu_count(),
        "memory_gib": round(int(_first(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())) / 2**20, 1),
        "kernel": platform.release(),
        "engine": processes.read(["docker", "version", "--format", "{{.Server.Version}}"]).strip(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _commit(root: Path) -> str:
    argv = ["git", "-C", str(root)]
    if not processes.succeeds([*argv, "rev-parse"]):
        return "unknown"
    changed = "+" if processes.read([*argv, "status", "--porcelain"]).strip() else ""
    return processes.read([*argv, "rev-parse", "--short=12", "HEAD"]).strip() + changed


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.M)
    return match[1].strip() if match else "0"
