"""The stand-in base image: a minimal Debian made by mmdebstrap and imported, with no pull at all."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.stack import apt, console, images, processes
from scripts.stack.errors import StackError
from scripts.stack.toolbox import Toolbox

_BUILD_SECONDS: Final = 900.0

#: Files of packages that no container reads.
_EXCLUDED: Final = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")


def build(toolbox: Toolbox, name: str) -> None:
    """Make the base image and tag it `name`. Raises StackError with the tail of mmdebstrap's output."""
    mode = bootstrap_mode()
    script, keyring = toolbox.mmdebstrap(), toolbox.debian_keyring()
    with console.step(f"Building the base image from Debian {apt.SUITE}"), tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        _run([str(script), *arguments(mode, archive, apt.host_mirrors(), keyring)], script.parent)
        processes.read(["docker", "import", *import_options(), str(archive), name], timeout=_BUILD_SECONDS)


def check_host(toolbox: Toolbox) -> None:
    """Raise StackError when this host lacks what `build` takes: a way to become root, and mmdebstrap or apt."""
    bootstrap_mode()
    toolbox.mmdebstrap()


def arguments(mode: str, archive: Path, found: apt.Mirrors, keyring: Path | None = None) -> list[str]:
    """Arguments for mmdebstrap; without a mirror of the host's it takes Debian's own, checked by `keyring`."""
    options = [f"--mode={mode}", "--variant=minbase", "--format=tar", f"--include={','.join(images.BASE_PACKAGES)}"]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED]
    options += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    if keyring:
        options.append(f"--keyring={keyring}")
    sources = apt.suite_lines(found) if found.main else []
    return [*options, apt.SUITE, str(archive), *sources]


def import_options() -> list[str]:
    """An imported archive has no configuration of its own."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [
        "--change",
        f"ENV PATH={path} LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive",
        "--change",
        'CMD ["/bin/sh"]',
        "--change",
        'LABEL org.opencontainers.image.title="holdfast stand-in base"',
    ]


def bootstrap_mode() -> str:
    """How mmdebstrap becomes root inside the tree. Raises StackError where this user cannot."""
    if os.geteuid() == 0:
        return "root"
    if shutil.which("newuidmap") and _has_subuids():
        return "unshare"
    raise StackError(
        "Building the base image needs root or subordinate user ids.",
        fix="sudo make images (once), or: sudo apt-get install uidmap",
    )


def _has_subuids() -> bool:
    path = Path("/etc/subuid")
    names = {os.environ.get("USER", ""), str(os.geteuid())}
    return path.is_file() and any(line.split(":")[0] in names for line in path.read_text().splitlines())


def _run(argv: Sequence[str], tool_folder: Path) -> None:
    environment = {
        **apt.proxy_environment(),
        **{name: value for name, value in os.environ.items() if name != "APT_CONFIG"},
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{tool_folder}",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-15:])
        raise StackError(f"mmdebstrap failed:\n{tail}", fix="check that the Debian mirror answers, then try again")
