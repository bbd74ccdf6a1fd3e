"""Every metric of the application, once: name, unit, bounded labels. Emitters import the object from here.

Rules: base units; counters end in `_total`; labels are closed lists or say what bounds them; never an id, an owner or a
farm. Rules, dashboards and runbooks may use no other names (a test compares them). Truth about queues and rows comes
from the exporter alone: two processes that both count the same thing disagree.
"""

from typing import Final

from metrics.described import Description, Open, counter, gauge, histogram, truth

KIND: Final = Open("the registered job kinds, at most 30")
POOL: Final = Open("the pools of dispatch.pools")
POOL_STATES: Final = ("QUEUED", "RUNNING")
TERMINAL_STATES: Final = ("SUCCEEDED", "FAILED", "CANCELLED")
SOURCES: Final = ("postgres", "invariants", "redis")
#: accept: a submit until its rows are inserted. commit_to_dispatch: until Redis took the hints of a commit.
#: dispatch_to_bridge: until the bridge published it (stream mode). dispatch_to_claim: from the last hint, both modes.
#: run: the handler. finish: the fenced transaction.
STAGES: Final = ("accept", "commit_to_dispatch", "dispatch_to_bridge", "dispatch_to_claim", "run", "finish")

# -- accept: web, and whatever process submits ----------------------------------------------------------------------
JOBS_ACCEPTED = counter(
    "jobs_accepted_total",
    "Submissions by outcome.",
    unit="jobs",
    kind=KIND,
    outcome=("created", "deduplicated", "conflict", "rejected"),
)
HTTP_REQUESTS = counter(
    "http_requests_total",
    "Answered requests.",
    unit="requests",
    operation=Open("operation ids of the OpenAPI document"),
    code=Open("HTTP status codes that we answer"),
)
HTTP_REQUEST_SECONDS = histogram(
    "http_request_duration_seconds",
    "Time until the answer was ready.",
    operation=Open("operation ids of the OpenAPI document"),
)
POSTGRES_BREAKER = counter(
    "postgres_breaker_transitions_total",
    "Times the Postgres circuit breaker of a process changed.",
    to=("open", "closed"),
)

# -- dispatch: every process that hands hints to Redis --------------------------------------------------------------
JOBS_DISPATCHED = counter(
    "jobs_dispatched_total",
    "Hints that Redis took, by what sent them.",
    unit="hints",
    via=("commit", "sweep", "epoch", "replay"),
)
JOBS_DISPATCH_ERRORS = counter(
    "jobs_dispatch_errors_total",
    "Dispatches that Redis did not take; the row stays due.",
    reason=Open("reasons of dispatch.DispatchRefused"),
)
DISPATCH_BREAKER = counter(
    "dispatch_breaker_transitions_total",
    "Times the dispatch circuit breaker of a process changed.",
    to=("open", "closed"),
)

# -- bridge ---------------------------------------------------------------------------------------------------------
BRIDGE_ENTRIES = counter(
    "bridge_entries_total",
    "Stream entries by what became of them.",
    unit="entries",
    result=("published", "suppressed", "dead"),
)
BRIDGE_DELETED_PENDING = counter(
    "bridge_stream_deleted_pending_total",
    "Entries whose body was deleted while they were pending: each is a hint lost in Redis, sent again by the sweeper.",
    unit="entries",
)
BRIDGE_GROUP_RECREATED = counter(
    "bridge_group_recreated_total", "Times the consumer group was gone and made again at 0.", unit="groups"
)
STREAM_CONSUMER_HEARTBEAT = gauge(
    "ndvi_stream_consumer_heartbeat",
    "When the bridge last finished a round.",
    unit="unix seconds",
    stream=Open("one, NDVI_STREAM_NAME"),
)
STREAM_CONSUMER_FAILURES = counter(
    "ndvi_stream_consumer_failures_total",
    "Rounds and entries of the bridge that failed.",
    reason=Open("error classes that the bridge names"),
)

# -- the job's life: workers and sweeper ----------------------------------------------------------------------------
JOBS_CLAIMS = counter("jobs_claims_total", "Claims by result.", result=("won", "duplicate", "terminal", "held"))
JOBS_FINISHED = counter(
    "jobs_finished_total", "Jobs that reached a terminal state.", unit="jobs", kind=KIND, state=TERMINAL_STATES
)
JOBS_STALE_FINISHES = counter("jobs_stale_finish_total", "Finishes that the fence refused: the lease was not theirs.")
JOBS_RETRIES = counter(
    "jobs_retries_total",
    "Attempts that failed and will be repeated.",
    unit="attempts",
    kind=KIND,
    error_class=Open("class names of jobs.errors and the webhooks' own, 'unexpected' for any other"),
)
JOBS_DEAD_LETTERED = counter(
    "jobs_dead_lettered_total",
    "Jobs that were dead-lettered.",
    unit="jobs",
    kind=KIND,
    reason=Open("dead-letter reasons of jobs"),
)
JOBS_REPLAYED = counter(
    "jobs_replayed_total", "Replays of dead letters.", unit="jobs", result=("created", "joined", "refused")
)
JOBS_STAGE_SECONDS = histogram("jobs_stage_duration_seconds", "Time a job spent in one stage.", stage=STAGES)
JOBS_END_TO_END_SECONDS = histogram(
    "jobs_end_to_end_seconds", "From the committed row (or not_before) to a terminal state.", pool=POOL
)
JOBS_RECOVERY_SECONDS = histogram(
    "jobs_recovery_seconds",
    "From the end of a dead attempt's lease to the next claim.",
    cause=("lease",),
)
KIND_BREAKER = counter(
    "jobs_kind_breaker_transitions_total",
    "Times a kind began to fail in bulk, and to succeed again.",
    kind=KIND,
    to=("open", "closed"),
)
SWEEPER_TICKS = counter("sweeper_ticks_total", "Ticks of the sweeper.", unit="ticks", result=("done", "failed"))
BROKER_EPOCH_CHANGES = counter(
    "broker_epoch_changes_total",
    "Times the sweeper took Redis for a new broker, so that hints were sent again.",
    reason=("missing", "replaced", "outage"),
)

# -- webhooks: worker-io -----------------------------------------------------------------------------------------------
WEBHOOK_DELIVERIES = counter(
    "webhook_deliveries_total",
    "Attempts to deliver a webhook; `known` = confirmed before, `forbidden` = an address that is not allowed.",
    unit="attempts",
    result=("delivered", "known", "unavailable", "refused", "forbidden"),
)
WEBHOOK_DELIVERY_SECONDS = histogram("webhook_delivery_duration_seconds", "Time one attempt to deliver took.")

# -- ndvi: the upstream archive -------------------------------------------------------------------------------------
UPSTREAM_REQUESTS = counter(
    "ndvi_upstream_requests_total",
    "Requests sent upstream.",
    unit="requests",
    operation=Open("search, read and what else ndvi.upstream names"),
)
UPSTREAM_FAILURES = counter(
    "ndvi_upstream_failures_total",
    "Upstream requests that failed.",
    unit="requests",
    operation=Open("as ndvi_upstream_requests_total"),
    reason=Open("error classes of ndvi.upstream"),
)
UPSTREAM_SECONDS = histogram(
    "ndvi_upstream_duration_seconds",
    "Time until an upstream request ended.",
    operation=Open("as ndvi_upstream_requests_total"),
)

# -- truth: made by the exporter at scrape time, by nobody else -----------------------------------------------------
TRUTH_SCRAPE_SUCCESS = truth(
    "jobs_truth_scrape_success",
    "1 when the source answered in time; its other metrics are absent when 0.",
    unit="boolean",
    source=SOURCES,
)
TRUTH_SCRAPE_SECONDS = truth(
    "jobs_truth_scrape_duration_seconds",
    "How long the source took to answer.",
    unit="seconds",
    source=SOURCES,
)
OPEN_JOBS = truth("jobs_open", "Jobs that are not terminal.", unit="jobs", pool=POOL, state=POOL_STATES)
OLDEST_OPEN_AGE = truth(
    "jobs_oldest_open_age_seconds",
    "How long the oldest job waits since it could first run (QUEUED) or runs (RUNNING); 0 when there is none.",
    unit="seconds",
    pool=POOL,
    state=POOL_STATES,
)
LEASE_EXPIRED = truth("jobs_lease_expired", "Running jobs whose lease ran out.", unit="jobs", pool=POOL)
OVERDUE_DISPATCH = truth(
    "jobs_overdue_dispatch", "Open jobs whose next hint has been due for more than 5 s.", unit="jobs", pool=POOL
)
JOBS_HELD = truth(
    "jobs_held", "Jobs held back because their kind fails in bulk; absent for every other kind.", unit="jobs", kind=KIND
)
DEAD_LETTERS = truth("jobs_dead_letters", "Dead letters that nobody replayed.", unit="jobs")
INVARIANT_VIOLATIONS = truth(
    "jobs_invariant_violations",
    "Jobs that break an invariant, counted up to 1000; anything but 0 is a bug.",
    unit="jobs",
    invariant=Open("names in exporter/invariants.sql"),
)
QUEUE_DEPTH = truth(
    "jobs_queue_depth", "Hints ready in Redis.", unit="hints", pool=POOL, priority=("high", "normal", "low")
)
QUEUE_UNACKED = truth("jobs_queue_unacked", "Hints that consumers hold unacknowledged, all pools.", unit="hints")
STREAM_LENGTH = truth("bridge_stream_length", "Entries in the stream, read or not.", unit="entries", stream=Open("one"))
STREAM_PENDING = truth(
    "redis_stream_pending_entries",
    "Entries delivered and not acknowledged.",
    unit="entries",
    stream=Open("one"),
    group=Open("one"),
)
STREAM_PENDING_AGE = truth(
    "redis_stream_pending_age_max",
    "Age of the oldest entry that was delivered and not acknowledged, since it was added.",
    unit="seconds",
    stream=Open("one"),
    group=Open("one"),
)
STREAM_LAG = truth(
    "bridge_lag", "Entries not yet delivered; absent when Redis cannot tell.", unit="entries", stream=Open("one")
)
STREAM_LAG_UNKNOWN = truth(
    "bridge_lag_unknown",
    "1 when Redis cannot tell how many entries are undelivered.",
    unit="boolean",
    stream=Open("one"),
)
STREAM_DEAD_LETTERS = truth(
    "bridge_dead_letter_stream_length", "Announcements in the dead-letter stream.", unit="entries", stream=Open("one")
)
BROKER_EPOCH_KNOWN = truth(
    "broker_epoch_known",
    "1 when Redis carries the epoch key, 0 after a flush until the sweeper saw it.",
    unit="boolean",
)
SWEEPER_TICK_AGE = truth(
    "sweeper_last_tick_age_seconds",
    "Age of the oldest pool's last tick, as Postgres holds it; absent before the first.",
    unit="seconds",
)
BUILD_INFO = truth(
    "build_info",
    "Always 1; the labels say what runs.",
    unit="boolean",
    version=Open("one per build"),
    python=Open("one per build"),
    backend=("celery", "stream"),
    topology=("standalone", "sentinel"),
)

TRUTHS: Final[tuple[Description, ...]] = tuple(
    value for value in list(globals().values()) if type(value) is Description
)
