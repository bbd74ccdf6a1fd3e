"""The heartbeat file: a loop touches it each round, and a health check compares its age."""

import os
from pathlib import Path
from typing import Final

DEFAULT_FILE: Final = "/run/holdfast/heartbeat"


def touch(path: Path | None = None) -> None:
    """Marks the loop as alive now. The file is `HEARTBEAT_FILE`; raises OSError when its folder cannot be written."""
    file = path or Path(os.environ.get("HEARTBEAT_FILE", DEFAULT_FILE))
    try:
        os.utime(file)
    except FileNotFoundError:
        file.touch()
