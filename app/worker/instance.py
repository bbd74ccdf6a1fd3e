"""The name under which this worker process holds leases: made once, before any fork, never used twice."""

import os
import secrets
import socket
from typing import Final

_VARIABLE: Final = "HOLDFAST_WORKER_INSTANCE"


def instance_id() -> str:
    """`<host>-<random>`; the pool's children inherit it, a restarted container gets another.

    In the environment and not in a variable, so that a child that is spawned instead of forked has it too.
    """
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    return os.environ[_VARIABLE]


def start_new_instance() -> str:
    """Names a new worker process. For its parent, before the first fork."""
    os.environ.pop(_VARIABLE, None)
    return instance_id()
