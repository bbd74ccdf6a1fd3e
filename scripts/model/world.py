"""What a state of the model is: two jobs with their rows and hints, two workers, and the memory of everybody else.

Time is no number. A lease, a grace and a backoff are over when a step says so: by itself where nothing hinders it, or
as a fault where a living holder would have prevented it. So every order that real clocks could bring about is explored.

Redis holds sets: that one job has several equal hints in one place is not told apart from one. What duplicates do is
explored all the same: a worker that holds a hint has taken it out of its place, and another may come.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, NamedTuple

#: As in jobs.states.State; "" = no committed row.
Status = Literal["", "QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
OPEN: Final = ("QUEUED", "RUNNING")
LIVE: Final = ("QUEUED", "RUNNING", "SUCCEEDED")

#: Attempts of every job.
MAX_ATTEMPTS: Final = 2

NOBODY: Final = -1


class Job(NamedTuple):
    """One request for a job: its row in Postgres, its hints in Redis, and who has it in hand."""

    # -- Postgres -----------------------------------------------------------------------------------------------------
    status: Status = ""
    #: The row's times. QUEUED: due · hinted (next_dispatch_at lies ahead) · early (not_before does).
    #: RUNNING: held · over (lease_until has passed) · over, hinted. The rest belongs to flaws.
    clock: str = ""
    attempt: int = 0
    token: int = 0  #: lease_token
    effects: int = 0
    bad_ends: int = 0  #: attempts that raised or whose lease ran out; the model's own count, no column
    # -- Redis --------------------------------------------------------------------------------------------------------
    unread: bool = False  #: an entry of the stream that was never delivered
    pending: bool = False  #: one that was delivered and not acknowledged
    listed: bool = False  #: a message in the pool's list
    unacked: bool = False  #: kombu's record of a message that was delivered; only kept where somebody reads it
    # -- memory of processes ------------------------------------------------------------------------------------------
    web: Literal["", "inserted", "committed", "done"] = ""  #: the request that asks for it
    bridge: Literal["", "read", "wanted", "unwanted", "acknowledged"] = ""  #: its entry in the bridge's hand
    sweeper: bool = False  #: taken and not yet published


class Worker(NamedTuple):
    """One slot of a pool. A process that dies is replaced by an idle one at once."""

    #: hint: a message in hand. asking: sent a claim that was not answered. running: holds a lease, or thinks so.
    #: applied: did its effect, not yet its finish (only where these are two transactions).
    phase: Literal["", "hint", "asking", "running", "applied"] = ""
    job: int = NOBODY
    token: int = 0  #: of the lease


IDLE: Final = Worker()


class State(NamedTuple):
    """Everything there is at one moment."""

    jobs: tuple[Job, ...]
    workers: tuple[Worker, ...]
    has_group: bool  #: the stream's consumer group exists
    faults: int  #: that may still happen


class Means(Enum):
    """Why a step happens."""

    SYSTEM = "system"  #: the system does it by itself, sooner or later, unless another step makes it impossible
    CLIENT = "client"  #: somebody asks for it, or not
    FAULT = "fault"  #: uses up one of the faults


class Step(NamedTuple):
    """One step: what is said of it, what it leads to. `job` and `worker` are those that the sentence names."""

    text: str
    after: State
    means: Means = Means.SYSTEM
    job: int = NOBODY
    worker: int = NOBODY
    ends_attempt: bool = False  #: finish, retry, fail and hand-back of `worker`


Steps = Iterator[Step]


class Mode(Enum):
    """As NDVI_QUEUE_BACKEND."""

    STREAM = "stream"
    CELERY = "celery"


class Fault(Enum):
    """Kinds of fault that a scenario allows."""

    WEB_DIES = "web dies"
    BRIDGE_DIES = "bridge dies"
    WORKER_DIES = "worker dies"
    SWEEPER_DIES = "sweeper dies"
    HINT_LOST = "one hint is lost"
    ALL_LOST = "Redis loses everything"
    GROUP_LOST = "the consumer group is lost"
    HINT_REPEATED = "a hint appears again"
    HINT_SLOW = "a hint takes longer than its grace"
    HINT_REFUSED = "Redis refuses a hint, or takes it and does not say so"
    LEASE_OVERRUN = "a lease runs out under a living worker"
    ANSWER_LOST = "Postgres commits and does not say so"
    HANDLER_RAISES = "the handler raises"
    WORKER_STOPS = "a worker is stopped and hands back"
    CANCELLED = "the job is cancelled"


class Flaw(Enum):
    """What is broken on purpose; `variants` says more."""

    NONE = "none"
    NO_HINT_AFTER_COMMIT = "no-hint-after-commit"
    PUBLISH_BEFORE_COMMIT = "publish-before-commit"
    NO_UNIQUE_INDEX = "no-unique-index"
    ACK_BEFORE_PUBLISH = "ack-before-publish"
    STREAM_TRIMMED = "stream-trimmed"
    GROUP_AT_END = "group-at-end"
    CONSUMER_DELETED = "consumer-deleted"
    READS_ONLY_NEW = "reads-only-new"
    NO_SWEEPER = "no-sweeper"
    GATED_ON_UNACKED = "gated-on-unacked"
    WINDOW_COUNTS_LOST = "window-counts-lost-hints"
    NO_CEILING_IN_SWEEPER = "lost-at-ceiling-stays"
    CLAIM_READS_DISPATCH_TIME = "claim-reads-next-dispatch-at"
    CLAIM_IGNORES_LEASE = "claim-ignores-lease"
    LEASE_BY_WORKER_CLOCK = "lease-by-worker-clock"
    CLAIM_IGNORES_CEILING = "claim-ignores-ceiling"
    RESENT_CLAIM_COUNTS = "resent-claim-counts"
    RESCUE_RAISES_NOTHING = "token-kept-at-rescue"
    RETRY_RAISES_NOTHING = "token-kept-at-retry"
    HAND_BACK_RAISES_NOTHING = "token-kept-at-hand-back"
    ATTEMPT_KEPT_AT_HAND_BACK = "attempt-kept-at-hand-back"
    RETRY_NEVER_DUE = "retry-never-due"
    NO_FENCE = "no-fence"
    FENCE_BY_STATE_ALONE = "fence-without-token"
    EFFECT_OUTSIDE = "effect-outside-transaction"
    EFFECT_AFTER_FINISH = "effect-after-finish"
    CLAIM_OF_ENDED = "claim-takes-ended-jobs"


@dataclass(frozen=True)
class World:
    """What is explored: who takes part, which faults may happen and how many of them in one run."""

    name: str
    jobs: int
    workers: int
    faults: int
    kinds: frozenset[Fault]
    mode: Mode = Mode.STREAM
    has_sweeper: bool = True
    same_request: bool = False  #: all jobs are asked for by the same request, sent again
    window: int = 2  #: hints inside their grace, as DISPATCH_WINDOW
    flaw: Flaw = Flaw.NONE

    def start(self) -> State:
        """Nothing was asked for, and Redis is new."""
        return State((Job(),) * self.jobs, (IDLE,) * self.workers, has_group=False, faults=self.faults)

    def may(self, state: State, fault: Fault) -> bool:
        return state.faults > 0 and fault in self.kinds


def changed(state: State, job: int, **fields: object) -> State:
    """The state with other values in one job."""
    jobs = state.jobs
    return state._replace(jobs=(*jobs[:job], jobs[job]._replace(**fields), *jobs[job + 1 :]))  # type: ignore[arg-type]


def turned(state: State, worker: int, then: Worker) -> State:
    """The state with one worker in another phase."""
    workers = state.workers
    return state._replace(workers=(*workers[:worker], then, *workers[worker + 1 :]))


def fault(text: str, after: State, job: int = NOBODY, worker: int = NOBODY) -> Step:
    """A step that uses up one fault."""
    return Step(text, after._replace(faults=after.faults - 1), Means.FAULT, job, worker)


def holds(worker: Worker, job: int, row: Job) -> bool:
    """Whether the row's lease is this worker's: what `leased_by` or `claim_key` says, the token says here."""
    return worker.job == job and row.status == "RUNNING" and worker.token == row.token and worker.phase != "hint"


def is_under_way(state: State, job: int) -> bool:
    """Whether a hint of the job is anywhere between Postgres and a claim."""
    it = state.jobs[job]
    if it.unread or it.pending or it.listed or it.sweeper or it.bridge or it.web == "committed":
        return True
    return any(worker.job == job and worker.phase in ("hint", "asking") for worker in state.workers)
