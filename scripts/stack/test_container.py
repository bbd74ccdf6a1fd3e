"""Runs a command inside the test image, on a copy of the working tree, without a network.

The tree is mounted read-only and copied to tmpfs first: what runs sees one moment of it, may write beside it, and the
unprivileged user can read it however closed the clone is. The servers that tests spawn listen on loopback.
"""

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.stack import processes
from scripts.stack.errors import StackError

#: A test whose wait ran out is tried once more, and the first try shown; one that failed in any other way is not, nor
#: is any test of a run in which many waits run out.
AGAIN: Final = (
    *("--reruns", "1", "--only-rerun", "DidNotHappen"),
    *("--max-suite-reruns", "5", "--rerun-show-tracebacks"),
)

#: Each process of pytest starts servers of its own, some twenty programs: no more of them than a small host has cores.
PYTEST: Final = ("pytest", "-q", "-n", "2", "--dist", "worksteal", *AGAIN)

#: Never copied: secrets, tools, history and what other runs left.
_LEFT_BEHIND: Final = (
    ".git",
    ".env",
    "secrets",
    ".state",
    ".tools",
    ".venv",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
)

#: The user of the application image; Postgres refuses to run as root.
_USER: Final = 10001

_COPY: Final = "/tmp/tree"  # noqa: S108 - inside the container, where nobody else is

#: tmpfs: data of throw-away servers. Fsync to a container's own layer takes tens of milliseconds.
_TMPFS: Final = "/tmp:exec,mode=1777,size=3g"  # noqa: S108


def argv(
    root: Path, image: str, command: Sequence[str], *, folder: str = "app", name: str, disk: str | None = None
) -> list[str]:
    """`docker run` of `command` in `folder` of the copied tree; `disk` = path of an empty volume on a real disk."""
    excluded = " ".join(f"--exclude=./{item} --exclude={item}" for item in _LEFT_BEHIND)
    script = (
        f"mkdir {_COPY} && tar -C /source {excluded} -cf - . | tar -C {_COPY} --no-same-owner -xf - "
        f"&& chown -R {_USER}:{_USER} {_COPY} && chmod -R u+rwX {_COPY} && cd {_COPY}/{folder} "
        f"&& exec setpriv --reuid={_USER} --regid={_USER} --clear-groups -- {shlex.join(command)}"
    )
    options = ["--rm", "--init", "--name", name, "--network", "none", "--tmpfs", _TMPFS, "--shm-size", "256m"]
    options += ["--volume", f"{root}:/source:ro"]
    if disk:
        script = f"chown {_USER}:{_USER} {disk} && {script}"
        options += ["--volume", disk]
    return ["docker", "run", *options, image, "sh", "-ec", script]


def records(
    root: Path, image: str, command: Sequence[str], *, name: str, disk: str | None = None
) -> Iterator[dict[str, Any]]:
    """JSON objects as `command` writes them, one a line; at the end, however it comes, no container is left.

    Raises StackError when the command fails.
    """
    with subprocess.Popen(
        argv(root, image, command, name=name, disk=disk), stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            for line in running.stdout:
                yield json.loads(line)
        finally:
            # While it runs: whoever reads no further would wait for its end.
            processes.succeeds(["docker", "rm", "--force", "--volumes", name])
    if running.returncode != 0:
        raise StackError(f"{shlex.join(command)} ended with status {running.returncode}.", fix="read its output above")
