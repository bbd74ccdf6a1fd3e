"""Kinds whose attempts fail in bulk."""

from django.db import models


class KindBreaker(models.Model):
    """One row per kind that was ever held back; see `jobs.kind_breaker`. Times by the database's clock."""

    kind = models.CharField(primary_key=True, max_length=100)
    is_open = models.BooleanField()
    changed_at = models.DateTimeField()  #: when it opened or closed
    probe_id = models.UUIDField(null=True, blank=True)  #: the one waiting job of the kind that may be claimed
    probed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "kind_breaker"

    def __str__(self) -> str:
        return f"{self.kind} {'open' if self.is_open else 'closed'}"
