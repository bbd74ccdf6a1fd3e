"""What the sweeper saw of each pool at its last tick, and of the broker."""

from django.db import models


class PoolState(models.Model):
    """One row per pool, written each tick. Web reads it for admission and for the hint window."""

    pool = models.CharField(primary_key=True, max_length=20)
    open = models.BigIntegerField()  #: open jobs; counting stops at the admission limit + 1
    hinted = models.IntegerField()  #: hints unclaimed inside their grace, after this tick's feed
    ready = models.BigIntegerField(null=True)  #: hints ready in Redis, null = not known: nobody waits for one
    behind = models.BooleanField()  #: due rows wait for the sweeper: a submit must not overtake them
    grace_seconds = models.PositiveSmallIntegerField()  #: first distance between two hints
    at = models.DateTimeField()  #: database clock

    class Meta:
        db_table = "pool_state"

    def __str__(self) -> str:
        return self.pool


class BrokerState(models.Model):
    """One row: the Redis that sweepers last agreed on. `id` is always 1."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    epoch = models.CharField(max_length=100)
    since = models.DateTimeField()  #: when this epoch, or the end of the last outage, was seen

    class Meta:
        db_table = "broker_state"

    def __str__(self) -> str:
        return self.epoch
