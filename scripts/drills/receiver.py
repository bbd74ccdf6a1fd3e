"""The drill's receiver of webhooks: a container of the application's image on the stack's edge network, for one run."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.stack import processes
from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.toolbox import Toolbox
from scripts.stack.up import profiles

PORT: Final = 8080
#: Milliseconds that an answer is held at most, after the effect was applied.
HOLD_MS: Final = 1500

_SCRIPT: Final = Path(__file__).with_name("webhook_receiver.py")
_SETTING: Final = "WEBHOOK_ALLOW_CIDRS"


@dataclass(frozen=True)
class Request:
    """One request as the receiver saw it."""

    key: str
    timestamp: str
    signature: str
    path: str
    body: str
    applied: bool  #: the first of its key

    @property
    def job_id(self) -> str:
        return str(json.loads(self.body)["data"]["id"])

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])

    def is_signed_with(self, secret: str) -> bool:
        """Standard Webhooks, version 1: HMAC-SHA256 over id, time and body."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.key}.{self.timestamp}.{self.body}".encode()
        wanted = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        return hmac.compare_digest(f"v1,{wanted}", self.signature)


@dataclass(frozen=True)
class Receiver:
    """A running receiver."""

    container: str
    address: str

    def url(self, tag: str) -> str:
        return f"http://{self.address}:{PORT}/{tag}"

    def requests(self, tag: str) -> list[Request]:
        """What came for this tag, in order."""
        lines = processes.read(["docker", "logs", self.container]).splitlines()[1:]  # the first is the port
        return [one for one in (Request(**json.loads(line)) for line in lines) if one.path == f"/{tag}"]


def compose_of(stack: Stack) -> Compose:
    return Compose(Toolbox(stack.root / ".tools").compose(), stack, profiles=profiles(stack))


def value_of(stack: Stack) -> str:
    """The networks that this stack has opened by itself."""
    return stack.values.get(_SETTING, "")


@contextmanager
def receiver(compose: Compose) -> Iterator[Receiver]:
    """Started like the service `scenes`: without a secret, on the edge network alone. Removed at the end."""
    stack = compose.stack
    name = f"{stack.project}-webhook-receiver"
    mount = f"{_SCRIPT}:/webhook_receiver.py:ro"
    argv = compose.argv("run", "--detach", "--no-deps", "--name", name, "--volume", mount, "scenes")
    _compose(compose, [*argv, "python", "/webhook_receiver.py", str(PORT), str(HOLD_MS)])
    try:
        networks = json.loads(processes.read(["docker", "inspect", name]))[0]["NetworkSettings"]["Networks"]
        yield Receiver(name, networks[f"{stack.project}_edge"]["IPAddress"])
    finally:
        processes.read(["docker", "rm", "--force", name])


@contextmanager
def opened(compose: Compose, address: str) -> Iterator[None]:
    """worker-io may deliver to this one address; afterwards it is as before."""
    networks = ",".join(filter(None, [value_of(compose.stack), f"{address}/32"]))
    _compose(compose, compose.recreate(["worker-io"]), {_SETTING: networks})
    try:
        yield
    finally:
        _compose(compose, compose.recreate(["worker-io"]))


def _compose(compose: Compose, argv: list[str], changed: Mapping[str, str] | None = None) -> None:
    # Compose lets a variable of the shell win over every env file.
    environment = {**compose.environment(), **(changed or {})}
    processes.read(argv, env=environment, cwd=compose.stack.root, timeout=120)
