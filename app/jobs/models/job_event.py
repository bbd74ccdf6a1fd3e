"""The timeline of a job: one row per transition, written by the statement that makes the transition."""

from django.db import models
from django.db.models.functions import Now

from jobs.models.job import Job


class JobEvent(models.Model):
    """`id` orders events of one job. `event` is accepted, claimed, rescued, succeeded, retried, failed, …"""

    id = models.BigAutoField(primary_key=True)
    # No foreign key in the database: its check would lock the job's row at each transition.
    job = models.ForeignKey(
        Job, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="events"
    )
    at = models.DateTimeField(db_default=Now())
    event = models.CharField(max_length=20)
    actor = models.CharField(max_length=200)  #: owner, instance id or "sweeper"
    from_state = models.CharField(max_length=10, blank=True, db_default="")
    to_state = models.CharField(max_length=10)
    attempt = models.PositiveSmallIntegerField(db_default=0)
    lease_token = models.BigIntegerField(db_default=0)
    dispatch_gen = models.IntegerField(db_default=0)
    reason = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "job_event"
        indexes = [models.Index(fields=("job", "id"), name="job_event_timeline")]

    def __str__(self) -> str:
        return f"{self.event} {self.job_id}"
