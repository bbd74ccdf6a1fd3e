"""What a handler must not do, and does."""

import ctypes
import os
import signal

from pydantic import BaseModel, ConfigDict

from jobs import job_kind
from jobs.context import Done, JobContext


class NumberParams(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = 0


@job_kind("faulty.hang", pool="io", params=NumberParams, max_attempts=2)
def hang(_job: JobContext, _params: NumberParams) -> Done:
    """Sleeps in C for ever: no deadline, no exception and no signal of Python's reaches it."""
    while True:
        ctypes.CDLL(None).pause()


@job_kind("faulty.kill", pool="fast", params=NumberParams, max_attempts=2)
def kill(_job: JobContext, _params: NumberParams) -> Done:
    """Takes its process with it, as an out-of-memory kill does."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Done()
