"""What could not be done, kept whole."""

from django.db import models
from django.db.models.functions import Now

from jobs.ids import new_id
from jobs.states import Reason


class DeadLetter(models.Model):
    """One failed job, or one stream entry that no job could be found for (`job_id` null)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)  #: the job's, where there is one
    job_id = models.UUIDField(null=True, blank=True)
    owner = models.CharField(max_length=200, blank=True, db_default="")
    kind = models.CharField(max_length=100, blank=True, db_default="")
    pool = models.CharField(max_length=20, blank=True, db_default="")
    reason = models.CharField(max_length=30, choices=Reason.choices)
    original_id = models.CharField(max_length=200, blank=True, db_default="")  #: stream entry id, or the job's id
    delivery_count = models.IntegerField(db_default=0)  #: attempts of the job, or deliveries of the entry
    error_class = models.CharField(max_length=100, blank=True, db_default="")
    error_message = models.TextField(blank=True, db_default="")
    payload = models.JSONField(default=dict)  #: the request as it was accepted, or the entry's fields
    accepted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    announced_at = models.DateTimeField(null=True, blank=True)  #: on the dead-letter stream; null = not yet
    replayed_as_id = models.UUIDField(null=True, blank=True)
    replayed_at = models.DateTimeField(null=True, blank=True)
    replayed_by = models.CharField(max_length=200, blank=True, db_default="")

    class Meta:
        db_table = "dead_letter"
        constraints = [
            models.CheckConstraint(name="dead_letter_reason_known", condition=models.Q(reason__in=Reason.values)),
            models.UniqueConstraint(
                fields=("job_id",), name="dead_letter_one_per_job", condition=models.Q(job_id__isnull=False)
            ),
        ]
        indexes = [
            models.Index(fields=("owner", "id"), name="dead_letter_by_owner"),
            models.Index(fields=("reason", "id"), name="dead_letter_by_reason"),
            models.Index(fields=("created_at",), name="dead_letter_age"),
            models.Index(
                fields=("created_at", "id"),
                name="dead_letter_to_announce",
                condition=models.Q(announced_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reason} {self.original_id}"
