"""Room on disk for one computation, gone afterwards; what a killed process left is cleared by the next one."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "ndvi-"
#: Seconds after which a folder cannot belong to a running attempt: no pool's limit comes near.
LEFTOVER_SECONDS: Final = 6 * 3600


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder below ``parent``, which lies on a disk volume: a tmpfs counts against a container's memory."""
    clear_leftovers(parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name:
        yield Path(name)


def clear_leftovers(parent: Path) -> None:
    """Removes folders of processes that died. Two callers at once do not disturb each other."""
    oldest = time.time() - LEFTOVER_SECONDS
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            is_left = folder.stat().st_mtime < oldest
        except FileNotFoundError:
            continue
        if is_left:
            shutil.rmtree(folder, ignore_errors=True)
