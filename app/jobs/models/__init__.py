"""Tables of the job's life, one module per noun."""

from jobs.keys import ApiKey
from jobs.models.dead_letter import DeadLetter
from jobs.models.effect import Effect
from jobs.models.idempotency_key import IdempotencyKey
from jobs.models.job import Job
from jobs.models.job_event import JobEvent
from jobs.models.kind_breaker import KindBreaker
from jobs.models.pool_state import BrokerState, PoolState
from jobs.models.probe_count import ProbeCount
from jobs.models.replay_audit import ReplayAudit
from jobs.models.schedule import Schedule

__all__ = [
    "ApiKey",
    "BrokerState",
    "DeadLetter",
    "Effect",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "KindBreaker",
    "PoolState",
    "ProbeCount",
    "ReplayAudit",
    "Schedule",
]
