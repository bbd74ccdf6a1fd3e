"""Built-in kinds that do nothing but count: one per pool, for smoke tests, drills and benches.

Their effect adds 1 and is not idempotent on purpose: applied twice, it is seen in `probe_count`.
"""

import os
import signal
import time
from functools import partial
from typing import Annotated, Final
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field

from jobs import prepared, sql
from jobs.context import Done, JobContext
from jobs.errors import Retryable
from jobs.kinds import job_kind

#: Seconds of work between two looks at the lease.
_SLICE_SECONDS: Final = 0.05


class ProbeParams(BaseModel):
    """Work for `work_ms` milliseconds; `tag` tells runs apart."""

    model_config = ConfigDict(extra="forbid")

    work_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    tag: Annotated[str, Field(max_length=200)] = ""


class FaultyProbeParams(ProbeParams):
    """Only where HOLDFAST_FAULTS=1: fail the first `fail_times` attempts; `crash` kills the process each time."""

    fail_times: Annotated[int, Field(ge=0, le=100)] = 0
    crash: bool = False


_Params: Final[type[ProbeParams]] = FaultyProbeParams if settings.HOLDFAST.holdfast_faults else ProbeParams


@job_kind("probe.fast", pool="fast", params=_Params, batchable=True)
@job_kind("probe.io", pool="io", params=_Params)
def wait(job: JobContext, params: ProbeParams) -> Done:
    """Sleeps, as a call to another machine does."""
    _fault(job, params)
    until = time.monotonic() + params.work_ms / 1000
    while (left := until - time.monotonic()) > 0:
        job.check_stopped()
        time.sleep(min(left, _SLICE_SECONDS))
    return _done(job, params)


@job_kind("probe.cpu", pool="cpu", params=_Params)
def burn(job: JobContext, params: ProbeParams) -> Done:
    """Keeps a core busy."""
    _fault(job, params)
    until = time.monotonic() + params.work_ms / 1000
    while time.monotonic() < until:
        job.check_stopped()
        sum(range(10_000))
    return _done(job, params)


def _done(job: JobContext, params: ProbeParams) -> Done:
    result = {"work_ms": params.work_ms, "tag": params.tag, "attempt": job.attempt}
    return Done(result=result, effects=[partial(_count, job.id)])


def _count(job_id: UUID) -> None:
    prepared.execute(sql.COUNT_PROBE, {"id": job_id})


def _fault(job: JobContext, params: ProbeParams) -> None:
    if not isinstance(params, FaultyProbeParams):
        return
    if params.crash:
        os.kill(os.getpid(), signal.SIGKILL)
    if job.attempt <= params.fail_times:
        raise Retryable(f"probe fails attempt {job.attempt} of {params.fail_times} as asked", after=0.0)
