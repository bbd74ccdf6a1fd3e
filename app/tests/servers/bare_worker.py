"""A worker of `tests.bare_app`: ordinary Celery on Sentinel, with or without connections that follow the primary."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.servers import acl
from tests.servers.process import hand_over
from tests.servers.sentinel import PRIMARY_NAME, SentinelTopology
from tests.servers.worker import AppProcess


def settings(topology: SentinelTopology) -> dict[str, Any]:
    """What no Celery comes as far as Redis without."""
    password = acl.PASSWORDS["app"]
    urls = (f"sentinel://app:{quote(password, safe='')}@{one.host}:{one.port}/0" for one in topology.sentinels)
    options = {"master_name": PRIMARY_NAME, "sentinel_kwargs": {"username": "app", "password": password}}
    return {"broker_url": ";".join(urls), "broker_transport_options": options, "task_ignore_result": True}


class BareWorkerProcess(AppProcess):
    """`celery worker` as it comes."""

    def __init__(
        self, topology: SentinelTopology, *, parent: Path, follows: bool, name: str = "bare", flags: Sequence[str] = ()
    ) -> None:
        environment = {"BARE_SETTINGS": json.dumps(settings(topology)), "BARE_FOLLOWS": str(int(follows))}
        super().__init__(name, parent=parent, environment=environment)
        self._flags = flags
        self.notes = self.directory / "notes"
        self.notes.touch()
        hand_over(self.notes)
        self.environment["BARE_NOTES"] = str(self.notes)

    def role(self) -> Sequence[str]:
        return (sys.executable, "-m", "celery", "-A", "tests.bare_app", "worker", "--concurrency=2", *self._flags)
