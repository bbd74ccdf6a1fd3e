"""A client's Idempotency-Key and the answer it got."""

from django.db import models
from django.db.models.functions import Now


class IdempotencyKey(models.Model):
    """Inserted first in the transaction of the submit it protects; kept `DEDUP_DAYS`."""

    id = models.BigAutoField(primary_key=True)
    owner = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    body_hash = models.CharField(max_length=64)  #: SHA-256 hex of the whole request body
    status = models.PositiveSmallIntegerField(null=True)  #: HTTP status of the first answer
    answer = models.JSONField(null=True)  #: {"ids": [...], "created": [...]} in the order of the request
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency_key"
        constraints = [models.UniqueConstraint(fields=("owner", "key"), name="idempotency_key_once")]
        indexes = [models.Index(fields=("created_at",), name="idempotency_key_age")]

    def __str__(self) -> str:
        return f"{self.owner} {self.key}"
