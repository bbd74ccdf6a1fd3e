"""Decides whether this host can run the stack. Every check returns all it finds; nothing is changed.

A check takes values and returns problems, each with the command to run next, so that an operator sees the whole list
at once and the tests need no host.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Final

from scripts.stack import console, host, processes
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.host import Host
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox

ENGINE_FLOOR: Final = (20, 10)
ARCHITECTURES: Final = ("x86_64", "amd64", "aarch64", "arm64")

#: Bytes. The whole stack idles at about half of it; the rest is room for rasters and page cache.
MEMORY_FLOOR: Final = 3 * 2**30
#: Bytes for images, the build cache and a first day of data.
DISK_FLOOR: Final = 6 * 2**30
#: Bytes that a running stack still needs to write at all.
DISK_FLOOR_WHEN_UP: Final = 1 * 2**30

#: Seconds that the Engine's clock may differ from ours: leases compare the database's clock with worker time-outs.
SKEW_LIMIT: Final = 2.0
#: A clock before this is one that was never set; TLS to a package index would fail on it.
CLOCK_FLOOR: Final = datetime(2025, 8, 1, tzinfo=UTC).timestamp()

#: Milliseconds. A Sentinel connects to a new primary up to 250 ms and a tick of its own after it began to count
#: (services/redis/sentinel-entrypoint.sh); with less patience than twice that it calls the new primary down, too.
LEAST_DOWN_AFTER_MS: Final = 500
USUAL_DOWN_AFTER_MS: Final = 1000

#: Variable -> its port in `.env.example`.
PORTS: Final = {"WEB_PORT": 8000, "PROMETHEUS_PORT": 9090, "ALERTMANAGER_PORT": 9093, "GRAFANA_PORT": 3000}


@dataclass(frozen=True)
class Problem:
    """One reason not to start."""

    what: str
    fix: str  #: the command to run next


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    del arguments
    check(ImageStore(stack, Toolbox(stack.root / ".tools")))
    console.say("Preflight: this host can run the stack.")
    return 0


def check(store: ImageStore) -> None:
    """Raise one StackError that names every problem of this host; return when there is none."""
    problems: list[Problem] = []
    _collect(problems, lambda: _host_problems(store.stack))
    _collect(problems, lambda: _tool_problems(store))
    if problems:
        raise failure(problems)


def failure(problems: list[Problem]) -> StackError:
    """All problems as one error; a single one keeps its own form."""
    if len(problems) == 1:
        return StackError(problems[0].what, fix=problems[0].fix)
    listed = "".join(f"\n  {number}. {one.what}\n     next: {one.fix}" for number, one in enumerate(problems, start=1))
    return StackError(f"This host cannot run the stack, for {len(problems)} reasons:{listed}", fix="make preflight")


def engine_problems(engine: host.Engine) -> list[Problem]:
    problems = []
    if engine.version < ENGINE_FLOOR:
        found, floor = (".".join(map(str, version)) for version in (engine.version, ENGINE_FLOOR))
        problems.append(
            Problem(f"Docker Engine {found} is older than {floor}.", "https://docs.docker.com/engine/install/")
        )
    if engine.os != "linux":
        problems.append(Problem(f"Docker Engine runs {engine.os} containers.", "switch Docker to Linux containers"))
    if engine.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        problems.append(
            Problem(f"Architecture {engine.architecture} is none of {known}.", "use an amd64 or arm64 host")
        )
    return problems


def clock_problems(now: float, skew_seconds: float) -> list[Problem]:
    problems = []
    if now < CLOCK_FLOOR:
        date = datetime.fromtimestamp(now, tz=UTC).date()
        problems.append(Problem(f"This host's clock says {date}.", "sudo timedatectl set-ntp true"))
    if abs(skew_seconds) > SKEW_LIMIT:
        problems.append(
            Problem(
                f"Docker Engine's clock differs from ours by {skew_seconds:.1f} s.",
                "restart Docker, then: date; docker info",
            )
        )
    return problems


def room_problems(found: Host) -> list[Problem]:
    """Memory and disk. A stack that already runs has its memory."""
    problems = []
    if not found.stack_is_up and found.available_memory_bytes < MEMORY_FLOOR:
        free = _gib(found.available_memory_bytes)
        problems.append(
            Problem(f"{free} of memory are available, {_gib(MEMORY_FLOOR)} are needed.", "free -h; docker stats")
        )
    floor = DISK_FLOOR_WHEN_UP if found.stack_is_up else DISK_FLOOR
    if found.free_disk_bytes < floor:
        free, folder = _gib(found.free_disk_bytes), found.engine.data_folder
        problems.append(Problem(f"{free} are free below {folder}, {_gib(floor)} are needed.", "docker system prune"))
    return problems


def port_problems(ports: Mapping[str, int], holders: Mapping[int, str], env_file: str) -> list[Problem]:
    """Ports that somebody holds, or that two variables name. No port is offered twice."""
    problems = []
    used = {*ports.values(), *holders}
    for index, (name, port) in enumerate(ports.items()):
        twin = next((other for other in list(ports)[:index] if ports[other] == port), None)
        if port in holders:
            what = f"Port {port} ({name}) is held by {holders[port]}."
        elif twin:
            what = f"Port {port} ({name}) is {twin}'s too."
        else:
            continue
        free = next(other for other in (*range(port + 1, 2**16), *range(1024, port)) if other not in used)
        used.add(free)
        problems.append(Problem(what, _setting(name, free, env_file)))
    return problems


def address_problems(address: str, found: Host, env_file: str) -> list[Problem]:
    """An address that is not this host's: every port would look taken."""
    if found.has_address:
        return []
    return [
        Problem(
            f"PUBLISH_ADDRESS={address} is no address of this host.", _setting("PUBLISH_ADDRESS", "127.0.0.1", env_file)
        )
    ]


def subnet_problems(prefix: str, project: str, found: Host, env_file: str) -> list[Problem]:
    """Whether another network or route covers the stack's /24. Networks of the project itself are no clash."""
    others = [network for network in found.networks if network.project != project]
    own = [network.subnet for network in found.networks if network.project == project]
    of_networks = {network.subnet for network in found.networks}
    routes = [route for route in found.routes if route.subnet not in of_networks]
    wanted = subnet_of(prefix)
    if wanted is None:
        what = f"SUBNET_PREFIX={prefix} is not three bytes of an address, such as 10.92.92."
        return [Problem(what, _setting("SUBNET_PREFIX", "10.92.92", env_file))]
    if not wanted.is_private:
        what = f"SUBNET_PREFIX={prefix} is public: containers could not reach whoever owns those addresses."
        return [Problem(what, _setting("SUBNET_PREFIX", "10.92.92", env_file))]
    clashes = [f"Docker network {one.name} ({one.subnet})" for one in others if one.subnet.overlaps(wanted)]
    clashes += [f"the route {one.subnet} on {one.name}" for one in routes if one.subnet.overlaps(wanted)]
    if not clashes:
        return []
    free = free_prefix([one.subnet for one in (*found.networks, *found.routes)] + own)
    what = f"The stack's subnet {wanted} overlaps {', '.join(clashes)}."
    return [Problem(what, _setting("SUBNET_PREFIX", free, env_file))]


def free_prefix(taken: Iterable[IPv4Network]) -> str:
    """First three bytes of a /24 that overlaps none of `taken`."""
    taken = list(taken)
    candidates = (f"{start}.{third}" for start in ("10.92", "10.93", "172.30") for third in range(92, 256))
    for prefix in candidates:
        if not any(one.overlaps(IPv4Network(f"{prefix}.0/24")) for one in taken):
            return prefix
    return "a free one"


def cpu_problems(values: Mapping[str, str], cpus: int, env_file: str) -> list[Problem]:
    """Limits above the Engine's count: it refuses to create such a container."""
    limits = {name: value for name, value in values.items() if name.endswith("_CPUS")}
    return [
        Problem(f"{name}={value} is more than the Engine's {cpus} CPUs.", _setting(name, cpus, env_file))
        for name, value in limits.items()
        if _number(value) > cpus
    ]


def patience_problems(value: str, env_file: str) -> list[Problem]:
    """How long a Sentinel waits for an answer."""
    if value.isdigit() and int(value) >= LEAST_DOWN_AFTER_MS:
        return []
    what = f"SENTINEL_DOWN_AFTER_MS={value} is no whole number of at least {LEAST_DOWN_AFTER_MS} milliseconds."
    return [Problem(what, _setting("SENTINEL_DOWN_AFTER_MS", USUAL_DOWN_AFTER_MS, env_file))]


def _host_problems(stack: Stack) -> list[Problem]:
    ports, malformed = _ports(stack)
    found = host.read(stack.project, stack.value("PUBLISH_ADDRESS"), ports.values())
    env_file = str(stack.env_path)
    return [
        *malformed,
        *engine_problems(found.engine),
        *clock_problems(found.now, found.engine.clock_skew_seconds),
        *room_problems(found),
        *address_problems(stack.value("PUBLISH_ADDRESS"), found, env_file),
        *port_problems(ports, found.port_holders, env_file),
        *subnet_problems(stack.value("SUBNET_PREFIX"), stack.project, found, env_file),
        *cpu_problems(stack.values, found.engine.cpus, env_file),
        *patience_problems(stack.value("SENTINEL_DOWN_AFTER_MS"), env_file),
    ]


def _tool_problems(store: ImageStore) -> list[Problem]:
    """Tools that are missing or too old are unpacked here; what cannot be had is a problem."""
    problems: list[Problem] = []
    needs: list[Callable[[], object]] = [store.toolbox.compose]
    # Images are asked of the Engine: without it there is one problem, not two.
    if processes.succeeds(["docker", "version"]):
        needs.append(store.check_buildable)
    for needed in needs:
        try:
            needed()
        except StackError as error:
            problems.append(Problem(error.what, error.fix))
    return problems


def _ports(stack: Stack) -> tuple[dict[str, int], list[Problem]]:
    values = {name: stack.value(name) for name in PORTS}
    good = {name: int(value) for name, value in values.items() if value.isdigit() and 0 < int(value) < 65536}
    bad = [
        Problem(f"{name}={values[name]} is no port number.", _setting(name, PORTS[name], str(stack.env_path)))
        for name in PORTS
        if name not in good
    ]
    return good, bad


def _collect(problems: list[Problem], checks: Callable[[], list[Problem]]) -> None:
    try:
        problems += checks()
    except StackError as error:
        problems.append(Problem(error.what, error.fix))


def subnet_of(prefix: str) -> IPv4Network | None:
    """The /24 that starts with these three bytes, None when they are not three bytes."""
    try:
        return IPv4Network(f"{prefix}.0/24")
    except ValueError:
        return None


def _setting(name: str, value: object, env_file: str) -> str:
    """The command that changes a variable, whether or not the file or its line is there: the last line counts.
    A variable of the shell wins over the file, so that is where it has to change."""
    if os.environ.get(name):
        return f"export {name}={value}"
    return f"echo {name}={value} >> {env_file}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _gib(amount: int) -> str:
    return f"{amount / 2**30:.1f} GiB"
