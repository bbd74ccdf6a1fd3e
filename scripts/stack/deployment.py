"""Which stack a command means: project name, mode, topology and the files that describe it.

Several stacks live beside each other on one host (the real one, the tests' one); each is told by its env file.
What `up` decided is kept in `.state/<project>/stack.env`, so that later commands mean the same stack.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from scripts.stack import env_file
from scripts.stack.errors import StackError

MODES: Final = ("celery", "stream")
TOPOLOGIES: Final = ("sentinel", "standalone")

#: Written to the state file by the image step and read by compose.yaml.
IMAGE_NAMES: Final = (
    "APP_IMAGE",
    "REDIS_IMAGE",
    "POSTGRES_IMAGE",
    "PROMETHEUS_IMAGE",
    "ALERTMANAGER_IMAGE",
    "REDIS_EXPORTER_IMAGE",
    "POSTGRES_EXPORTER_IMAGE",
    "GRAFANA_IMAGE",
)


@dataclass(frozen=True)
class Stack:
    """One stack on this host. Immutable: a command that decides something returns a changed copy."""

    root: Path  #: the clone
    env_path: Path  #: `.env`, or another stack's env file
    values: Mapping[str, str]  #: example defaults, then the env file, then the process environment
    mode: str
    topology: str
    state: Mapping[str, str] = field(default_factory=dict)  #: what the last `up` decided

    @property
    def project(self) -> str:
        return self.value("COMPOSE_PROJECT_NAME")

    @property
    def state_path(self) -> Path:
        return self.root / ".state" / self.project / "stack.env"

    @property
    def is_default(self) -> bool:
        """Whether this is the stack of `.env`, and not one that tests or CI started beside it."""
        return self.env_path == self.root / ".env"

    @property
    def secrets_dir(self) -> Path:
        return (self.root if self.is_default else self.env_path.parent) / "secrets"

    @property
    def compose_files(self) -> tuple[str, ...]:
        overlay = ("compose.sentinel.yaml",) if self.topology == "sentinel" else ()
        return ("compose.yaml", *overlay, *filter(None, self.values.get("COMPOSE_OVERRIDES", "").split(":")))

    @property
    def web_url(self) -> str:
        return f"http://{self.value('PUBLISH_ADDRESS')}:{self.value('WEB_PORT')}"

    @property
    def subnet(self) -> str:
        return f"{self.value('SUBNET_PREFIX')}.0/24"

    def value(self, name: str) -> str:
        """A variable of this stack. Raises StackError when neither the env file nor the example names it."""
        try:
            return self.values[name]
        except KeyError:
            raise StackError(f"{self.env_path} does not set {name}.", fix="make up") from None

    def with_images(self, images: Mapping[str, str]) -> "Stack":
        return replace(self, state={**self.state, **images})

    def state_lines(self) -> dict[str, str]:
        """Everything that compose.yaml may rely on beside the env file."""
        return {
            **self.state,
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": ":".join(self.compose_files),
            "MODE": self.mode,
            "TOPOLOGY": self.topology,
            "SECRETS_DIR": str(self.secrets_dir),
            "ENV_MODE": env_file.parse(_text(self.env_path)).get("MODE", ""),
            "ENV_TOPOLOGY": env_file.parse(_text(self.env_path)).get("TOPOLOGY", ""),
        }

    def save_state(self) -> None:
        self.state_path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{name}={value}\n" for name, value in self.state_lines().items())
        self.state_path.write_text("# Written by the last start; read by every later command.\n" + text)


def load(root: Path, *, env_path: Path | None = None, environment: Mapping[str, str] | None = None) -> Stack:
    """The stack that `env_path` (default `.env`) describes, with `environment` (default the process's) on top."""
    env_path = env_path or root / ".env"
    if environment is None:
        # What the operator exports is meant for the stack of `.env`; a second stack follows its own file alone.
        environment = os.environ if env_path == root / ".env" else {}
    example = _text(root / ".env.example")
    in_file = env_file.parse(_text(env_path))
    values = {**env_file.documented_defaults(example), **env_file.parse(example), **in_file}
    values = {name: environment.get(name) or value for name, value in values.items()}
    project = values.get("COMPOSE_PROJECT_NAME", "holdfast")
    state = env_file.parse(_text(root / ".state" / project / "stack.env"))
    return Stack(
        root=root,
        env_path=env_path,
        values=values,
        mode=_chosen("MODE", MODES, environment, in_file, state, values),
        topology=_chosen("TOPOLOGY", TOPOLOGIES, environment, in_file, state, values),
        state={name: value for name, value in state.items() if name in IMAGE_NAMES},
    )


def _chosen(
    name: str,
    allowed: tuple[str, ...],
    environment: Mapping[str, str],
    in_file: Mapping[str, str],
    state: Mapping[str, str],
    values: Mapping[str, str],
) -> str:
    """The command line, else what the last start ran with (unless the env file was edited since), else the env file."""
    unedited = state.get(f"ENV_{name}", "") == in_file.get(name, "")
    value = environment.get(name) or (state.get(name) if unedited else None) or values.get(name) or allowed[0]
    if value not in allowed:
        raise StackError(f"{name}={value} is none of {', '.join(allowed)}.", fix=f"make up {name}={allowed[0]}")
    return value


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
