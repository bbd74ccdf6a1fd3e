"""The tools a start needs beside Docker Engine: Compose and, to build without a registry, mmdebstrap.

What the host lacks is unpacked into the ignored `.tools/` of the clone. Nothing is installed and no root is needed.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.stack import apt, console, processes
from scripts.stack.errors import StackError

#: Oldest Compose with `env_file.required` and `!reset`, which compose.sentinel.yaml relies on.
COMPOSE_FLOOR: Final = (2, 24)

_COMPOSE_BINARY: Final = "usr/libexec/docker/cli-plugins/docker-compose"


@dataclass(frozen=True)
class Toolbox:
    """The project's tool folder."""

    folder: Path

    def compose(self) -> tuple[str, ...]:
        """argv of a Compose that is new enough, unpacked first when the host has none. Raises StackError."""
        found = self._installed_compose()
        if found:
            return found
        unpacked = self.folder / "compose"
        if not (unpacked / _COMPOSE_BINARY).is_file():
            self._unpack_compose(unpacked)
        return (str(next(path for path in self._compose_paths(unpacked) if path.is_file())),)

    def mmdebstrap(self) -> Path:
        """The mmdebstrap script, unpacked first when the host has none."""
        if installed := shutil.which("mmdebstrap"):
            return Path(installed)
        script = self.folder / "mmdebstrap" / "usr" / "bin" / "mmdebstrap"
        if not script.is_file():
            self._check_apt("mmdebstrap")
            with console.step("Unpacking mmdebstrap into .tools"):
                apt.fetch("mmdebstrap", into=self.folder / "mmdebstrap", folder=self.folder / "apt")
        return script

    def debian_keyring(self) -> Path | None:
        """Debian's archive keys for a host of another distribution; None where the host has them itself."""
        if apt.KEYRING.is_file():
            return None
        unpacked = self.folder / "keyring"
        if not (unpacked / apt.KEYRING.relative_to("/")).is_file():
            apt.fetch("debian-archive-keyring", into=unpacked, folder=self.folder / "apt")
        return unpacked / apt.KEYRING.relative_to("/")

    @staticmethod
    def _check_apt(package: str) -> None:
        if not apt.is_available():
            raise StackError(
                f"{package} is missing, and this host has no apt to unpack it with.",
                fix=f"install {package}, or load the images from a host that has them: docker save, docker load",
            )

    def _installed_compose(self) -> tuple[str, ...] | None:
        for argv in (("docker", "compose"), ("docker-compose",)):
            if (version := compose_version(argv)) and version >= COMPOSE_FLOOR:
                return argv
        return None

    def _unpack_compose(self, into: Path) -> None:
        if not apt.is_available():
            floor = ".".join(map(str, COMPOSE_FLOOR))
            raise StackError(
                f"Docker Compose {floor} or newer is missing, and this host has no apt to unpack one with.",
                fix="install the Compose plugin: https://docs.docker.com/compose/install/linux/",
            )
        with console.step("Unpacking Docker Compose into .tools"):
            package = "docker-compose" if apt.host_mirrors().main else "docker-compose-v2"
            apt.fetch(package, into=into, folder=self.folder / "apt")
            path = next((path for path in self._compose_paths(into) if path.is_file()), None)
            version = compose_version((str(path),)) if path else None
        if not version or version < COMPOSE_FLOOR:
            shutil.rmtree(into)
            found = ".".join(map(str, version)) if version else "missing"
            raise StackError(
                f"Compose in the distribution's {package} is {found}, which is too old.",
                fix="install the Compose plugin: https://docs.docker.com/compose/install/linux/",
            )

    @staticmethod
    def _compose_paths(folder: Path) -> list[Path]:
        return [folder / _COMPOSE_BINARY, folder / "usr/bin/docker-compose"]


def compose_version(argv: Sequence[str]) -> tuple[int, ...] | None:
    """(major, minor, patch) that `argv` answers with, None when it is not there or not Compose 2."""
    try:
        return parsed_version(processes.read([*argv, "version", "--short"]))
    except (StackError, OSError):
        return None


def parsed_version(text: str) -> tuple[int, ...] | None:
    """The numbers at the start of a version: "v2.26.1-4" -> (2, 26, 1)."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text.strip())
    return tuple(int(part or 0) for part in match.groups()) if match else None
