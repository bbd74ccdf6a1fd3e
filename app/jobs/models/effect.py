"""The ledger of effects outside the database."""

from django.db import models
from django.db.models.functions import Now

from jobs.states import EffectState


class Effect(models.Model):
    """An intent, committed before the call; its key names (root job, effect), never the attempt."""

    id = models.BigAutoField(primary_key=True)
    root_id = models.UUIDField()
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=EffectState.choices)
    intended_at = models.DateTimeField(db_default=Now())
    done_at = models.DateTimeField(null=True, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        db_table = "effect"
        constraints = [models.UniqueConstraint(fields=("root_id", "name"), name="effect_once")]

    def __str__(self) -> str:
        return f"{self.root_id} {self.name}"
