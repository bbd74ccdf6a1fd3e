"""The worlds in which the sound system must hold, and the same system with one thing broken, which must be caught."""

from dataclasses import dataclass, replace
from typing import Final

from scripts.model.promises import Promise
from scripts.model.world import Fault, Flaw, Mode, World

_EVERY_FAULT: Final = frozenset(Fault)

#: Without the sweeper: what the bridge's leg keeps by itself, as long as Redis keeps what it took.
_BRIDGE_ALONE: Final = World(
    "the bridge alone: no sweeper, it dies, its group is lost",
    jobs=2,
    workers=2,
    faults=4,
    kinds=frozenset({Fault.BRIDGE_DIES, Fault.GROUP_LOST}),
    has_sweeper=False,
)

SOUND: Final = (
    World("two jobs, stream mode, every kind of fault", jobs=2, workers=2, faults=4, kinds=_EVERY_FAULT),
    World(
        "two jobs, celery mode, room for one hint, every kind of fault",
        jobs=2,
        workers=2,
        faults=4,
        kinds=_EVERY_FAULT,
        mode=Mode.CELERY,
        window=1,
    ),
    World(
        "one request sent twice, every kind of fault",
        jobs=2,
        workers=2,
        faults=3,
        kinds=_EVERY_FAULT,
        same_request=True,
    ),
    World("one job, more faults of every kind", jobs=1, workers=2, faults=6, kinds=_EVERY_FAULT),
    _BRIDGE_ALONE,
)


@dataclass(frozen=True)
class Variant:
    """The system with one flaw, in a world so small that its story is short and uses no other fault than it needs."""

    what: str
    world: World
    breaks: Promise

    @property
    def name(self) -> str:
        return self.world.flaw.value


def _variant(flaw: Flaw, what: str, breaks: Promise, *faults: Fault, world: World | None = None) -> Variant:
    world = world or World("", jobs=1, workers=2, faults=0, kinds=frozenset())
    small = replace(world, name=flaw.value, flaw=flaw, faults=len(faults), kinds=frozenset(faults))
    return Variant(what, small, breaks)


VARIANTS: Final = (
    _variant(
        Flaw.NO_HINT_AFTER_COMMIT,
        "nothing is published after the commit, and there is no sweeper",
        Promise.ENDS,
        world=_BRIDGE_ALONE,
    ),
    _variant(
        Flaw.PUBLISH_BEFORE_COMMIT,
        "the hint is published inside the transaction, and there is no sweeper",
        Promise.ENDS,
        world=_BRIDGE_ALONE,
    ),
    _variant(
        Flaw.NO_UNIQUE_INDEX,
        "submit looks for an equal job before it inserts, and no unique index guards it",
        Promise.ONE_OPEN_ID,
        world=replace(_BRIDGE_ALONE, same_request=True),
    ),
    _variant(
        Flaw.ACK_BEFORE_PUBLISH,
        "the bridge acknowledges, then publishes; no sweeper",
        Promise.ENDS,
        Fault.BRIDGE_DIES,
        world=_BRIDGE_ALONE,
    ),
    _variant(Flaw.STREAM_TRIMMED, "XADD with MAXLEN 1; no sweeper", Promise.ENDS, world=_BRIDGE_ALONE),
    _variant(Flaw.GROUP_AT_END, "the group is made at $; no sweeper", Promise.ENDS, world=_BRIDGE_ALONE),
    _variant(
        Flaw.CONSUMER_DELETED,
        "a consumer is deleted while it holds pending entries; no sweeper",
        Promise.ENDS,
        Fault.BRIDGE_DIES,
        world=_BRIDGE_ALONE,
    ),
    _variant(
        Flaw.READS_ONLY_NEW,
        "the bridge neither reads its own pending entries nor claims stale ones; no sweeper",
        Promise.ENDS,
        Fault.BRIDGE_DIES,
        world=_BRIDGE_ALONE,
    ),
    _variant(Flaw.NO_SWEEPER, "nobody hints again", Promise.ENDS, Fault.ALL_LOST),
    _variant(
        Flaw.GATED_ON_UNACKED,
        "the sweeper waits while messages are unacknowledged",
        Promise.ENDS,
        Fault.WORKER_DIES,
    ),
    _variant(
        Flaw.WINDOW_COUNTS_LOST,
        "hints count against the window also after their grace",
        Promise.ENDS,
        Fault.HINT_LOST,
        world=World("", jobs=1, workers=1, faults=0, kinds=frozenset(), window=1),
    ),
    _variant(
        Flaw.NO_CEILING_IN_SWEEPER,
        "nobody fails a lease that ran out at the attempt ceiling",
        Promise.ENDS,
        Fault.WORKER_DIES,
        Fault.WORKER_DIES,
    ),
    _variant(
        Flaw.CLAIM_READS_DISPATCH_TIME,
        "a claim wants next_dispatch_at to have come, as if it were not_before",
        Promise.ENDS,
    ),
    _variant(
        Flaw.CLAIM_IGNORES_LEASE, "a claim takes a running job whatever its lease", Promise.LEASE_KEPT, Fault.HINT_SLOW
    ),
    _variant(
        Flaw.LEASE_BY_WORKER_CLOCK,
        "lease_until is written by the worker's clock, which is a day ahead",
        Promise.ENDS,
        Fault.WORKER_DIES,
    ),
    _variant(
        Flaw.CLAIM_IGNORES_CEILING,
        "a claim does not look at max_attempts",
        Promise.ATTEMPTS_BOUNDED,
        Fault.WORKER_DIES,
        Fault.WORKER_DIES,
        Fault.HINT_SLOW,
    ),
    _variant(
        Flaw.RESENT_CLAIM_COUNTS,
        "a claim whose answer was lost counts as another attempt when it is sent again",
        Promise.DEAD_WITH_CAUSE,
        Fault.ANSWER_LOST,
        Fault.HANDLER_RAISES,
    ),
    _variant(
        Flaw.RESCUE_RAISES_NOTHING,
        "the claim of an expired lease keeps its token",
        Promise.TOKENS_GROW,
        Fault.LEASE_OVERRUN,
    ),
    _variant(
        Flaw.RETRY_RAISES_NOTHING,
        "a retry does not raise the token",
        Promise.TOKENS_GROW,
        Fault.HANDLER_RAISES,
    ),
    _variant(
        Flaw.HAND_BACK_RAISES_NOTHING,
        "a hand-back does not raise the token",
        Promise.TOKENS_GROW,
        Fault.WORKER_STOPS,
    ),
    _variant(
        Flaw.ATTEMPT_KEPT_AT_HAND_BACK,
        "a hand-back counts as an attempt",
        Promise.DEAD_WITH_CAUSE,
        Fault.WORKER_STOPS,
        Fault.HANDLER_RAISES,
    ),
    _variant(
        Flaw.RETRY_NEVER_DUE,
        "a retry leaves next_dispatch_at empty",
        Promise.ENDS,
        Fault.HANDLER_RAISES,
    ),
    _variant(
        Flaw.NO_FENCE,
        "a finish names the job alone",
        Promise.ONE_EFFECT,
        Fault.LEASE_OVERRUN,
    ),
    _variant(
        Flaw.FENCE_BY_STATE_ALONE,
        "a finish wants RUNNING, and whoever's token",
        Promise.ENDED_BY_HOLDER,
        Fault.LEASE_OVERRUN,
    ),
    _variant(
        Flaw.EFFECT_OUTSIDE,
        "the effect has a transaction of its own, before the finish",
        Promise.ONE_EFFECT,
        Fault.WORKER_DIES,
    ),
    _variant(
        Flaw.EFFECT_AFTER_FINISH,
        "the effect is left to a transaction after the finish",
        Promise.EFFECT_OF_SUCCESS,
    ),
    _variant(
        Flaw.CLAIM_OF_ENDED,
        "a claim takes whatever is not running",
        Promise.LEGAL,
        Fault.HINT_REPEATED,
    ),
)
