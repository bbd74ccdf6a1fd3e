"""Jobs that start by the clock; the sweeper fires them."""

from django.db import models
from django.db.models.functions import Now

from jobs.states import MissedTicks


class Schedule(models.Model):
    """A cron line in a time zone. Each tick becomes one job with identity `tick:<name>:<tick in UTC>`."""

    id = models.BigAutoField(primary_key=True)
    name = models.SlugField(max_length=100, unique=True)
    owner = models.CharField(max_length=200)
    cron = models.CharField(max_length=100)
    tz = models.CharField(max_length=64, default="UTC")
    kind = models.CharField(max_length=100)
    farm_id = models.CharField(max_length=200, blank=True, default="")
    params = models.JSONField(default=dict, blank=True)
    priority = models.SmallIntegerField(default=3)
    missed = models.CharField(max_length=10, choices=MissedTicks.choices, default=MissedTicks.LATEST)
    paused = models.BooleanField(default=False)
    next_tick_at = models.DateTimeField()
    last_tick_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "schedule"
        indexes = [models.Index(fields=("next_tick_at",), name="schedule_due", condition=models.Q(paused=False))]

    def __str__(self) -> str:
        return self.name
