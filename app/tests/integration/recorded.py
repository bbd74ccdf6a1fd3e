"""A recorded history in tests: its events, the rows as the host dumps them, and what the checker says of both."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.db import connection

REPOSITORY = Path(os.environ.get("HOLDFAST_REPOSITORY", Path(__file__).resolve().parents[3]))


def events(folder: Path, *ops: str) -> list[dict[str, Any]]:
    """Events of these operations, or all: those of one process in their order."""
    lines = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [line for line in lines if not ops or line["op"] in ops]


def verdict(folder: Path) -> tuple[int, str]:
    """Exit status and words of the checker, over this history and the rows as they stand."""
    rows = folder.parent / "rows.jsonl"
    _dump(rows)
    command = (sys.executable, "-m", "scripts.checker", "--history", str(folder), "--database", str(rows))
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)
    return done.returncode, done.stdout + done.stderr


def _dump(path: Path) -> None:
    """By the very script that the host gives to psql."""
    text = (REPOSITORY / "scripts" / "stack" / "history.sql").read_text().replace(":'since'", "'0'")
    rows = []
    with connection.cursor() as cursor:
        for select in (part for part in text.split(";\n") if "SELECT" in part):
            cursor.execute(select)
            rows += [value if isinstance(value, str) else json.dumps(value) for (value,) in cursor.fetchall()]
    path.write_text("".join(f"{row}\n" for row in rows))
