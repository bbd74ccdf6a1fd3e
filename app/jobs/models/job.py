"""The promise: one row per accepted job, open until it is terminal."""

from typing import Final

from django.db import models
from django.db.models.functions import Coalesce, Now

from jobs.ids import new_id
from jobs.states import State

_OPEN: Final = models.Q(state__in=("QUEUED", "RUNNING"))
_DEAD: Final = models.Q(state__in=("FAILED", "CANCELLED"))
#: What a replay stands for is the dead job's request; other jobs stand for themselves.
_STANDS_FOR: Final = Coalesce("stands_for", "identity")
_ONE_AT_A_TIME: Final = models.Q(identity__startswith="req:") | models.Q(identity__startswith="replay:")
_ONCE_FOR_EVER: Final = models.Q(identity__startswith="step:") | models.Q(identity__startswith="tick:")


class Job(models.Model):
    """One accepted job. Rows change only through the statements of `jobs.sql`.

    ::

                        submit                            finish (fenced)
            (nothing) ─────────▶ QUEUED ──── claim ───▶ RUNNING ─────────────▶ SUCCEEDED
                                 ▲ │  ▲                 │ │ │ ▲
                                 │ │  └── retry ────────┘ │ │ └─ rescue: claim of an expired lease
                                 │ │      (not_before)    │ │    (the next attempt; the old token is dead)
                                 │ └──── hand-back ◀──────┘ │
                          cancel │      (attempt restored)  ├── fail ──────────▶ FAILED  ──▶ dead letter
                                 ▼                          │   (permanent, poison, attempts used up)
                            CANCELLED ◀──────── cancel ─────┤
                                                            └── rescue at the ceiling: the sweeper fails an
                                                                expired lease whose attempts are used up ──▶ FAILED

    `lease_token` is the fence: a claim raises it, every transition out of RUNNING raises it, it never falls. Whoever
    finishes must present the token of its own claim while the row is RUNNING.

    Two times, never one: `not_before` is the earliest start and the only one that a claim checks; `next_dispatch_at`
    says when to hint again and a claim never reads it. Leaving a terminal state is impossible: a replay is a new row
    that points back.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)

    # -- what was asked -----------------------------------------------------------------------------------------------
    owner = models.CharField(max_length=200)  #: account of the API key; other owners never see the row
    identity = models.CharField(max_length=300)  #: req:<hash>, force:<id>, replay:<id>, step:<parent>:<step>, tick:…
    stands_for = models.CharField(max_length=300, null=True, blank=True)  # noqa: DJ001 - identity of a replay's root
    request_hash = models.CharField(max_length=64)  #: SHA-256 hex over owner, kind, farm, params, callback
    hash_version = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=100)
    pool = models.CharField(max_length=20)
    farm_id = models.CharField(max_length=200, blank=True, db_default="")
    params = models.JSONField(default=dict)
    callback_url = models.CharField(max_length=2000, blank=True, db_default="")
    priority = models.SmallIntegerField()  #: 0 high, 3 normal, 6 low: steps of kombu's Redis transport
    traceparent = models.CharField(max_length=55, blank=True, db_default="")

    # -- where it comes from ------------------------------------------------------------------------------------------
    root_id = models.UUIDField()  #: first job of a chain of replays; key of external effects. Itself for most
    parent_id = models.UUIDField(null=True, blank=True)  #: the job whose finish created this follow-up
    replay_of_id = models.UUIDField(null=True, blank=True)  #: the dead job that this one repeats
    previous_id = models.UUIDField(null=True, blank=True)  #: the failed or cancelled job of the same request

    # -- where it stands ----------------------------------------------------------------------------------------------
    state = models.CharField(max_length=10, choices=State.choices)
    attempt = models.PositiveSmallIntegerField(db_default=0)  #: attempts begun; a hand-back gives one back
    max_attempts = models.PositiveSmallIntegerField()
    lease_token = models.BigIntegerField(db_default=0)  #: the fence; never falls
    leased_by = models.CharField(max_length=200, blank=True, db_default="")  #: instance id of the holder
    lease_until = models.DateTimeField(null=True, blank=True)  #: database clock
    claim_key = models.BigIntegerField(db_default=0)  #: random, of the claim that holds the lease: see sql.CLAIM

    # -- when to start, when to hint ----------------------------------------------------------------------------------
    not_before = models.DateTimeField(null=True, blank=True)  #: earliest start; null = at once
    next_dispatch_at = models.DateTimeField()
    dispatch_gen = models.IntegerField(db_default=0)  #: hints sent so far; for traces and refused batches only
    hinted_at = models.DateTimeField(null=True, blank=True)  #: last hint that Redis took, null = none since QUEUED
    grace_seconds = models.PositiveSmallIntegerField()  #: distance of the next hint; doubles to 300, anew at each claim
    held = models.BooleanField(db_default=False)  #: not hinted while its kind fails in bulk, see jobs.kind_breaker
    broker_epoch = models.CharField(max_length=100, blank=True, db_default="")  #: Redis that took the last hint

    # -- what became of it --------------------------------------------------------------------------------------------
    accepted_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)  #: start of the latest attempt
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    error_class = models.CharField(max_length=100, blank=True, db_default="")  #: of the latest failed attempt
    error_message = models.TextField(blank=True, db_default="")
    result = models.JSONField(null=True, blank=True)
    files = models.JSONField(default=list, blank=True)  #: StoredFile each, named by the fenced finish
    thinned_at = models.DateTimeField(null=True, blank=True)  #: retention took params, result, files and events

    class Meta:
        db_table = "job"
        constraints = [
            models.UniqueConstraint(
                "owner", _STANDS_FOR, name="job_one_live_request", condition=_ONE_AT_A_TIME & ~_DEAD
            ),
            models.UniqueConstraint("owner", "identity", name="job_once_for_ever", condition=_ONCE_FOR_EVER),
            models.CheckConstraint(name="job_state_known", condition=models.Q(state__in=State.values)),
            models.CheckConstraint(name="job_priority_known", condition=models.Q(priority__in=(0, 3, 6))),
            models.CheckConstraint(
                name="job_identity_form", condition=models.Q(identity__regex=r"^(req|force|replay|step|tick):.")
            ),
            models.CheckConstraint(
                name="job_running_has_lease",
                condition=~models.Q(state="RUNNING") | (models.Q(lease_until__isnull=False) & ~models.Q(leased_by="")),
            ),
            models.CheckConstraint(
                name="job_terminal_has_end",
                condition=models.Q(_OPEN, finished_at__isnull=True) | models.Q(~_OPEN, finished_at__isnull=False),
            ),
            models.CheckConstraint(
                name="job_attempts_in_bounds",
                condition=models.Q(max_attempts__gte=1, attempt__lte=models.F("max_attempts")),
            ),
            models.CheckConstraint(name="job_token_not_negative", condition=models.Q(lease_token__gte=0)),
        ]
        indexes = [
            # `id` breaks ties of one bulk insert, `pool` and `priority` keep a blocked pool out of the others' scans.
            models.Index(fields=("pool", "priority", "next_dispatch_at", "id"), name="job_due", condition=_OPEN),
            # Expired leases must not queue behind a backlog of due rows.
            models.Index(fields=("pool", "lease_until"), name="job_lease", condition=models.Q(state="RUNNING")),
            # Hints in flight: at most a window per pool.
            models.Index(
                fields=("pool", "next_dispatch_at"),
                name="job_hinted",
                condition=models.Q(state="QUEUED", hinted_at__isnull=False),
            ),
            models.Index(fields=("kind", "id"), name="job_held", condition=models.Q(state="QUEUED", held=True)),
            models.Index(fields=("owner", "id"), name="job_by_owner"),
            models.Index(fields=("state", "id"), name="job_by_state"),
            models.Index(fields=("owner", "identity", "id"), name="job_dead_request", condition=_DEAD),
            models.Index(fields=("root_id", "id"), name="job_replays", condition=models.Q(replay_of_id__isnull=False)),
            models.Index(
                fields=("finished_at",),
                name="job_to_thin",
                condition=models.Q(finished_at__isnull=False, thinned_at__isnull=True),
            ),
            models.Index(fields=("finished_at",), name="job_to_forget", condition=models.Q(thinned_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id} {self.state}"

    @property
    def is_open(self) -> bool:
        return self.state in (State.QUEUED, State.RUNNING)
