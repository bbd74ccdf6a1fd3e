"""`footprint`: CPU and memory of a stack, per service and in sum, read from cgroups over some minutes.

Memory is what the cgroup is charged minus inactive file cache, which the kernel gives back for nothing: the figure
that `docker stats` shows too. CPU is time used over time passed, in cores.
"""

import argparse
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.stack import console, processes, services
from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.toolbox import Toolbox

#: Seconds between two looks at memory.
_SAMPLE_SECONDS: Final = 5.0

_CGROUPS: Final = Path("/sys/fs/cgroup")
_MIB: Final = 2**20


@dataclass(frozen=True)
class Cgroup:
    """The accounting folders of one container, in either cgroup version."""

    cpu: Path
    memory: Path

    def cpu_seconds(self) -> float:
        """CPU time used since the container started."""
        if (stat := self.cpu / "cpu.stat").is_file() and (match := re.search(r"usage_usec (\d+)", stat.read_text())):
            return int(match[1]) / 1e6
        return int((self.cpu / "cpuacct.usage").read_text()) / 1e9

    def memory_bytes(self) -> int:
        """Charged memory without inactive file cache."""
        return used_memory(self._charged(), (self.memory / "memory.stat").read_text())

    def _charged(self) -> int:
        current = self.memory / "memory.current"
        return int((current if current.is_file() else self.memory / "memory.usage_in_bytes").read_text())


@dataclass(frozen=True)
class Usage:
    """What one container used over the whole measurement."""

    service: str
    cores: float
    memory_bytes: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--duration", type=float, default=300.0, help="seconds to measure over (300)")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    compose = Compose(Toolbox(stack.root / ".tools").compose(), stack, profiles=("*",))
    running = [service for service in services.listed(compose) if service.state == "running"]
    if not running:
        raise StackError(f"{stack.project} does not run.", fix="make up")
    with console.step(f"Measuring {len(running)} containers for {arguments.duration:g} s"):
        usages = measure({one.container: one.name for one in running}, arguments.duration)
    for line in table(usages):
        console.say(line)
    return 0


def measure(containers: dict[str, str], duration: float) -> list[Usage]:
    """Usage of each container (name -> service) over `duration` seconds."""
    cgroups = {name: cgroup_of(_pid(name)) for name in containers}
    began, cpu_before = time.monotonic(), {name: group.cpu_seconds() for name, group in cgroups.items()}
    samples: dict[str, list[int]] = {name: [] for name in cgroups}
    while (left := began + duration - time.monotonic()) > 0:
        time.sleep(min(_SAMPLE_SECONDS, left))
        for name, group in cgroups.items():
            samples[name].append(group.memory_bytes())
    passed = time.monotonic() - began
    return [
        Usage(
            service=containers[name],
            cores=(group.cpu_seconds() - cpu_before[name]) / passed,
            memory_bytes=sum(samples[name]) / len(samples[name]),
        )
        for name, group in cgroups.items()
    ]


def used_memory(charged: int, stat: str) -> int:
    """`charged` minus inactive file cache; version 1 counts it over the whole tree as total_inactive_file."""
    match = re.search(r"^total_inactive_file (\d+)", stat, re.M) or re.search(r"^inactive_file (\d+)", stat, re.M)
    return charged - (int(match[1]) if match else 0)


def folders(membership: str) -> tuple[str, str]:
    """(cpu, memory) folders below /sys/fs/cgroup from the text of /proc/<pid>/cgroup."""
    rows = [line.split(":", 2) for line in membership.splitlines()]
    by_controller = {name: path for _, names, path in rows for name in names.split(",")}
    if "cpuacct" in by_controller:
        return f"cpuacct{by_controller['cpuacct']}", f"memory{by_controller['memory']}"
    return by_controller[""].lstrip("/"), by_controller[""].lstrip("/")


def cgroup_of(pid: int) -> Cgroup:
    """The cgroup of a process. Raises StackError where this host does not show it."""
    try:
        cpu, memory = folders(Path(f"/proc/{pid}/cgroup").read_text())
    except (OSError, KeyError) as error:
        raise StackError(f"The cgroup of process {pid} cannot be read.", fix="run it on the Engine's host") from error
    return Cgroup(cpu=_CGROUPS / cpu, memory=_CGROUPS / memory)


def table(usages: Sequence[Usage]) -> list[str]:
    """One line per service, largest memory first, then the sum."""
    ordered = sorted(usages, key=lambda usage: usage.memory_bytes, reverse=True)
    total = Usage("sum", sum(one.cores for one in usages), sum(one.memory_bytes for one in usages))
    rows = [f"{one.service:<20} {one.cores:>7.3f} {one.memory_bytes / _MIB:>9.0f}" for one in (*ordered, total)]
    return [f"{'service':<20} {'cores':>7} {'MiB':>9}", *rows]


def _pid(container: str) -> int:
    return int(processes.read(["docker", "inspect", "--format", "{{.State.Pid}}", container]))
