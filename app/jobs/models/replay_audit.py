"""Who replayed dead letters in bulk, and what came of it."""

from django.db import models
from django.db.models.functions import Now

from jobs.ids import new_id


class ReplayAudit(models.Model):
    """One bulk replay, also a dry run; written in its transaction."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=200)  #: account that asked
    key_id = models.CharField(max_length=8, blank=True, db_default="")  #: its API key
    filter = models.JSONField(default=dict)  #: as asked; every letter that it could see when empty
    dry_run = models.BooleanField()
    rate = models.FloatField()  #: jobs per second
    matched = models.PositiveIntegerField()
    created = models.PositiveIntegerField()
    joined = models.PositiveIntegerField()
    refused = models.PositiveIntegerField()

    class Meta:
        db_table = "replay_audit"
        indexes = [models.Index(fields=("at",), name="replay_audit_age")]

    def __str__(self) -> str:
        return f"{self.actor} {self.at:%Y-%m-%d %H:%M}"
