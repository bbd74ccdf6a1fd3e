"""One run of schemathesis with one key."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.api_check.report import Tally
from tests.servers.web import WebProcess

SCOPES = ("read", "submit", "operate")

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
)


class Run:
    """schemathesis as a process of its own; its output goes to ours."""

    def __init__(self, web: WebProcess, *, scopes: Sequence[str], cases: int, seed: int, folder: Path) -> None:
        self._web = web
        self._scopes = scopes
        self._cases = cases
        self._seed = seed
        self._folder = folder
        self._events = folder / f"{'-'.join(scopes)}.ndjson"

    def is_clean(self) -> bool:
        """Sends the cases; True when no check failed."""
        key = self._web.manage("create_api_key", "--owner=api-check", f"--scopes={','.join(self._scopes)}").strip()
        sys.stdout.write(f"-- key with {', '.join(self._scopes)}\n")
        sys.stdout.flush()
        command = (*self._command(), "-H", f"Authorization: Bearer {key}")
        # schemathesis leaves a cache in its working directory.
        return subprocess.run(command, cwd=self._folder, check=False).returncode == 0

    def tally(self) -> Tally:
        """What was answered."""
        return Tally.of(self._events)

    def _command(self) -> Sequence[str]:
        return (
            *("schemathesis", "--no-color", "run", f"{self._web.url}/api/openapi.json"),
            *("--checks", ",".join(CHECKS), "--max-examples", str(self._cases), "--seed", str(self._seed)),
            *("--phases", "examples,coverage,fuzzing", "--mode", "all", "--continue-on-failure"),
            *("--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"),
            *("--report", "ndjson", "--report-ndjson-path", str(self._events), "--request-timeout", "10"),
        )
