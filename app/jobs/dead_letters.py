"""Dead letters of stream entries; those of jobs are written by the statement that ends the job."""

from collections.abc import Mapping

from jobs.models import DeadLetter
from jobs.states import Reason
from metrics.catalogue import JOBS_DEAD_LETTERED


def record_entry(*, entry_id: str, fields: Mapping[str, str], reason: str, deliveries: int) -> None:
    """Keeps a stream entry that no job could be made of, once. `reason` is a word of states.Reason.

    It is called again with the same entry while Redis refuses the acknowledgement.
    """
    _, is_new = DeadLetter.objects.get_or_create(
        reason=Reason(reason),
        original_id=entry_id[:200],
        job_id=None,
        payload=dict(fields),
        defaults={"delivery_count": deliveries},
    )
    if is_new:
        JOBS_DEAD_LETTERED.labels(kind="unknown", reason=reason).inc()
