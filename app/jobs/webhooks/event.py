"""What a webhook says: small, and the same bytes in every attempt, for a terminal job does not change."""

from datetime import UTC
from typing import Final

from jobs.models import Job
from jobs.requests import canonical
from jobs.states import State

#: Characters of an error's message; the whole of it stands at `url`.
_MESSAGE_LIMIT: Final = 500


def type_of(job: Job) -> str:
    """job.succeeded, job.failed or job.cancelled."""
    return f"job.{job.state.lower()}"


def body_of(job: Job) -> str:
    """JSON text: type, timestamp (the job's end), data (id, kind, farm_id, status, url, error or null)."""
    assert job.finished_at is not None
    failure = {"error_class": job.error_class, "message": job.error_message[:_MESSAGE_LIMIT]}
    data = {
        "id": str(job.id),
        "kind": job.kind,
        "farm_id": job.farm_id,
        "status": job.state,
        "url": f"/api/v1/jobs/{job.id}",
        "error": failure if job.state == State.FAILED else None,
    }
    timestamp = job.finished_at.astimezone(UTC).isoformat()
    return canonical({"type": type_of(job), "timestamp": timestamp, "data": data})
