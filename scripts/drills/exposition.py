"""Counters of one container, read where Prometheus reads them; the host reaches the stack's network."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.request import urlopen

from scripts.stack.errors import StackError

#: Port of /metrics inside the network; METRICS_PORT's default.
_PORT: Final = 9100
_ANSWER_SECONDS: Final = 5.0


def counted(inspected: dict[str, Any], name: str) -> float:
    """Sum over all labels of a metric, as the container counts it now. Raises StackError."""
    addresses = [network["IPAddress"] for network in inspected["NetworkSettings"]["Networks"].values()]
    service = inspected["Config"]["Labels"]["com.docker.compose.service"]
    for address in addresses:
        try:
            return total(read(address, within=_ANSWER_SECONDS), name)
        except OSError:
            continue
    raise StackError(f"{service} does not show its metrics.", fix=f"make logs SERVICE={service}")


def read(address: str, *, within: float) -> str:
    """Everything that the container at `address` counts. Raises OSError."""
    with urlopen(f"http://{address}:{_PORT}/metrics", timeout=within) as answer:
        text: str = answer.read().decode()
        return text


def series(exposition: str) -> Iterator[tuple[str, float]]:
    """(name and labels, value) of each line of Prometheus's text format without timestamps."""
    rows = (line.rsplit(" ", 1) for line in exposition.splitlines() if line and not line.startswith("#"))
    return ((name, float(value)) for name, value in rows)


def metric_of(labelled: str) -> str:
    """The name without its labels."""
    return labelled.partition("{")[0]


def total(exposition: str, name: str) -> float:
    """Sum over all labels of one metric; 0 when it does not occur."""
    return sum(value for labelled, value in series(exposition) if metric_of(labelled) == name)
