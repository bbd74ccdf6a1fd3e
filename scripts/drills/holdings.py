"""What the processes of each service hold: descriptors, sockets, memory. Read inside the containers, from /proc.

What is held is compared at rest, and after the pools of connections have been filled once: then a descriptor more per
failover is a leak, and nothing else grows so.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from scripts.stack import processes
from scripts.stack.containers import Containers, parse_processes

#: Of each process its stat, its resident memory and its descriptors; needs a shell, cat, grep and ls.
_LIST: Final = """
for one in /proc/[0-9]*; do
    stat=$(cat "$one/stat" 2>/dev/null) || continue
    echo "@ $stat"
    grep VmRSS "$one/status" 2>/dev/null
    ls -l "$one/fd" 2>/dev/null
done
true
"""
_KIB_PER_MIB: Final = 1024


@dataclass(frozen=True)
class Holding:
    """Of all processes of a service, init and what `docker exec` brought in excepted."""

    processes: frozenset[int]  #: ids inside the container
    descriptors: int
    sockets: int
    memory_mib: float  #: resident; what processes share counts in each

    def record(self) -> dict[str, Any]:
        return {
            "processes": len(self.processes),
            "descriptors": self.descriptors,
            "sockets": self.sockets,
            "memory_mib": round(self.memory_mib, 1),
        }


def look(containers: Containers, services: Sequence[str]) -> dict[str, Holding]:
    """By service; of one that has several containers, the first. One that does not run is missing."""
    found = {service: ids[0] for service in services if (ids := containers.ids(service, running=True))}
    with ThreadPoolExecutor(max(1, len(found))) as pool:
        listed = pool.map(lambda one: processes.read(["docker", "exec", one, "sh", "-c", _LIST]), found.values())
        return {service: parsed(text) for service, text in zip(found, listed, strict=True)}


def process_ids(held: Mapping[str, Holding]) -> dict[str, frozenset[int]]:
    """The processes of each service."""
    return {service: holding.processes for service, holding in held.items()}


def parsed(listing: str) -> Holding:
    """From what _LIST prints."""
    sections = [section.splitlines() for section in f"\n{listing}".split("\n@ ")[1:]]
    own = {process.id for process in parse_processes("\n".join(lines[0] for lines in sections))}
    mine = [lines for lines in sections if int(lines[0].split()[0]) in own]
    links = [line for lines in mine for line in lines[1:] if " -> " in line]
    memory = [int(line.split()[1]) for lines in mine for line in lines[1:] if line.startswith("VmRSS:")]
    return Holding(
        processes=frozenset(own),
        descriptors=len(links),
        sockets=sum(" -> socket:" in line for line in links),
        memory_mib=sum(memory) / _KIB_PER_MIB,
    )
