"""The five states of a job and the words that go with them. Knows no model."""

from typing import Final

from django.db import models


class State(models.TextChoices):
    QUEUED = "QUEUED", "queued"  #: open: waits for its time, its hint or its next attempt
    RUNNING = "RUNNING", "running"  #: open: a worker holds the lease
    SUCCEEDED = "SUCCEEDED", "succeeded"  #: terminal: result and effects are committed
    FAILED = "FAILED", "failed"  #: terminal: dead-lettered with a reason
    CANCELLED = "CANCELLED", "cancelled"  #: terminal: somebody asked for it


OPEN: Final = frozenset({State.QUEUED, State.RUNNING})
TERMINAL: Final = frozenset(State) - OPEN


class Reason(models.TextChoices):
    """Why a job or a stream entry was dead-lettered. A closed list: metrics and filters use these words."""

    ATTEMPTS_EXHAUSTED = "attempts_exhausted", "failed at the last allowed attempt"
    PERMANENT = "permanent", "the handler said that no repetition can help"
    POISON = "poison", "the handler said that this input is harmful"
    WORKER_LOST = "worker_lost", "the lease of the last allowed attempt ran out"
    UNKNOWN_KIND = "unknown_kind", "no installed app registers this kind"
    INVALID_PARAMS = "invalid_params", "the stored params no longer fit the kind's model"
    BRIDGE_MALFORMED = "bridge_malformed", "a stream entry could not be read"
    BRIDGE_POISON = "bridge_poison", "a stream entry was delivered again and again without success"


class MissedTicks(models.TextChoices):
    """What a schedule does with ticks that passed while no sweeper ran (or while it was paused)."""

    SKIP = "skip", "fire none of them, wait for the next"
    LATEST = "latest", "fire the latest one once"
    ALL = "all", "fire each of them, oldest first"


class EffectState(models.TextChoices):
    INTENDED = "intended", "the call may or may not have happened"
    DONE = "done", "the other side confirmed it"
