"""The stack that chaos breaks: its own project, subnet, ports, secrets and volumes beside any other; kept between runs.

HOLDFAST_CHAOS_PROJECT, HOLDFAST_CHAOS_SUBNET_PREFIX and HOLDFAST_CHAOS_FIRST_PORT move it when the defaults are taken.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from scripts.stack import deployment, down, env_file
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.up import up

PROJECT: Final = os.environ.get("HOLDFAST_CHAOS_PROJECT", "holdfast-chaos")
SUBNET_PREFIX: Final = os.environ.get("HOLDFAST_CHAOS_SUBNET_PREFIX", "10.92.95")
FIRST_PORT: Final = int(os.environ.get("HOLDFAST_CHAOS_FIRST_PORT", "18510"))

_PORTS: Final = ("WEB_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT")


def _given(mode: str, topology: str) -> dict[str, str]:
    return {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "SUBNET_PREFIX": SUBNET_PREFIX,
        **{name: str(FIRST_PORT + number) for number, name in enumerate(_PORTS)},
        "MODE": mode,
        "TOPOLOGY": topology,
        "COMPOSE_OVERRIDES": "compose.chaos.yaml",
        # Probes fail and kill their worker where the load asks for it.
        "HOLDFAST_FAULTS": "1",
        "HOLDFAST_HISTORY": "1",
        # A whole stack is awaited before each run.
        "HEALTH_INTERVAL": "5s",
        "SCENES_REPLICAS": "0",
    }


def env_path(root: Path) -> Path:
    return root / ".state" / PROJECT / "env" / ".env"


def ensure(root: Path, *, mode: str, topology: str) -> Stack:
    """The stack, up and in this mode and topology; what runs already is left as it is. Raises StackError."""
    given, path = _given(mode, topology), env_path(root)
    env_file.ensure(path, root / ".env.example", given=given)
    env_file.rewrite(path, given)
    return up(deployment.load(root, env_path=path), job=False)


def left(root: Path) -> Stack | None:
    """The stack as a run before left it, or None when it has no container."""
    path = env_path(root)
    if not path.is_file():
        return None
    stack = deployment.load(root, env_path=path)
    return stack if Containers(PROJECT).ids() else None


def remove(root: Path) -> bool:
    """Containers, networks, volumes, env file and secrets; whether there was anything."""
    path = env_path(root)
    if not path.is_file():
        return False
    down.down(deployment.load(root, env_path=path), volumes=True)
    shutil.rmtree(path.parent)
    return True
