"""Counters of one container, read where Prometheus reads them; the host reaches the stack's network."""

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
            with urlopen(f"http://{address}:{_PORT}/metrics", timeout=_ANSWER_SECONDS) as answer:
                return total(answer.read().decode(), name)
        except OSError:
            continue
    raise StackError(f"{service} does not show its metrics.", fix=f"make logs SERVICE={service}")


def total(exposition: str, name: str) -> float:
    """Sum over all labels of one metric in Prometheus's text format; 0 when it does not occur."""
    rows = (line.rsplit(" ", 1) for line in exposition.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(value) for _, value in rows)
