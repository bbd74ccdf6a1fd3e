"""What this host and its Engine are: read once, into values that preflight decides on."""

import json
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any, Final

from scripts.stack import processes
from scripts.stack.errors import StackError
from scripts.stack.toolbox import parsed_version

_TCP_LISTEN: Final = "0A"


@dataclass(frozen=True)
class Network:
    """An address range that is taken: by a Docker network or by a route of the host."""

    name: str
    subnet: IPv4Network
    project: str = ""  #: Compose project of a Docker network


@dataclass(frozen=True)
class Engine:
    """What `docker info` says."""

    version: tuple[int, ...]
    os: str
    architecture: str
    cpus: int
    memory_bytes: int
    data_folder: Path
    clock_skew_seconds: float  #: Engine's clock minus ours


@dataclass(frozen=True)
class Host:
    """Everything preflight looks at."""

    engine: Engine
    networks: tuple[Network, ...]
    routes: tuple[Network, ...]
    available_memory_bytes: int
    free_disk_bytes: int
    now: float  #: Unix time
    stack_is_up: bool  #: containers of this project run
    port_holders: Mapping[int, str]  #: taken port -> who holds it; our own project's ports are left out
    has_address: bool = True  #: the address that ports are published on is this host's


def read(project: str, address: str, ports: Iterable[int]) -> Host:
    """Look at host and Engine. Raises StackError when the Engine does not answer."""
    engine = _read_engine()
    own_ports, other_ports, is_up = _published_ports(project)
    # Port 0 is any free port: only the address can be wrong with it.
    has_address = _can_bind(address, 0)
    taken = {port for port in ports if has_address and port not in own_ports and not _can_bind(address, port)}
    return Host(
        engine=engine,
        networks=_docker_networks(),
        routes=parsed_routes(_text(Path("/proc/net/route"))),
        available_memory_bytes=available_memory(_text(Path("/proc/meminfo"))) or engine.memory_bytes,
        free_disk_bytes=_free_disk(engine.data_folder),
        now=time.time(),
        stack_is_up=is_up,
        port_holders={port: other_ports.get(port) or _listening_process(port) for port in taken},
        has_address=has_address,
    )


def parsed_routes(table: str) -> tuple[Network, ...]:
    """Routes of /proc/net/route (little-endian hex) but for the default route."""
    rows = [line.split() for line in table.splitlines()[1:]]
    routes = [Network(row[0], IPv4Network((_address(row[1]), _address(row[7])), strict=False)) for row in rows if row]
    return tuple(route for route in routes if route.subnet.prefixlen > 0)


def available_memory(meminfo: str) -> int | None:
    """Bytes that MemAvailable names."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def listening_inodes(tables: str, port: int) -> set[str]:
    """Socket inodes that listen on `port`, from the text of /proc/net/tcp and tcp6."""
    rows = [line.split() for line in tables.splitlines()]
    return {
        row[9] for row in rows if len(row) > 9 and row[3] == _TCP_LISTEN and int(row[1].rpartition(":")[2], 16) == port
    }


def _read_engine() -> Engine:
    asked = time.time()
    try:
        info: dict[str, Any] = json.loads(processes.read(["docker", "info", "--format", "{{json .}}"]))
    except StackError as error:
        reason = error.what.rpartition("failed: ")[2]
        fix = "sudo systemctl start docker (permission denied: sudo usermod -aG docker $USER, then log in again)"
        raise StackError(f"Docker Engine does not answer: {reason}", fix=fix) from error
    answered = time.time()
    return Engine(
        version=parsed_version(info["ServerVersion"]) or (0,),
        os=info["OSType"],
        architecture=info["Architecture"],
        cpus=info["NCPU"],
        memory_bytes=info["MemTotal"],
        data_folder=Path(info["DockerRootDir"]),
        clock_skew_seconds=_engine_time(info["SystemTime"]) - (asked + answered) / 2,
    )


def _engine_time(text: str) -> float:
    # Python 3.11 reads at most six decimals; the Engine sends nine.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()


def _docker_networks() -> tuple[Network, ...]:
    ids = processes.read(["docker", "network", "ls", "--quiet", "--filter", "driver=bridge"]).split()
    listed = json.loads(processes.read(["docker", "network", "inspect", *ids])) if ids else []
    return tuple(
        Network(one["Name"], subnet, (one["Labels"] or {}).get("com.docker.compose.project", ""))
        for one in listed
        for entry in one["IPAM"]["Config"] or []
        if isinstance(subnet := ip_network(entry["Subnet"], strict=False), IPv4Network)
    )


def _published_ports(project: str) -> tuple[set[int], dict[int, str], bool]:
    """(our own published ports, other containers' port -> name, whether our project runs)."""
    form = '{{.Names}}\t{{.Label "com.docker.compose.project"}}\t{{.Ports}}'
    own: set[int] = set()
    others: dict[int, str] = {}
    is_up = False
    for line in processes.read(["docker", "ps", "--format", form]).splitlines():
        name, of_project, published = line.split("\t")
        ports = {int(port) for port in re.findall(r":(\d+)->", published)}
        if of_project == project:
            own, is_up = own | ports, True
        else:
            others |= {port: f"container {name}" for port in ports}
    return own, others, is_up


def _can_bind(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _listening_process(port: int) -> str:
    tables = _text(Path("/proc/net/tcp")) + _text(Path("/proc/net/tcp6"))
    links = {f"socket:[{inode}]" for inode in listening_inodes(tables, port)}
    for process in Path("/proc").glob("[0-9]*"):
        if _holds(process, links):
            return f"{_text(process / 'comm').strip()} (pid {process.name})"
    return "another user's process"


def _holds(process: Path, links: set[str]) -> bool:
    try:
        return any(str(descriptor.readlink()) in links for descriptor in (process / "fd").iterdir())
    except OSError:
        # Gone meanwhile, or another user's.
        return False


def _free_disk(folder: Path) -> int:
    # The data folder itself is closed to others than root; its nearest readable parent is on the same disk or above.
    while not os.access(folder, os.X_OK) and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _address(little_endian: str) -> str:
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(little_endian)))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
