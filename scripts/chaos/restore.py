"""Undoes every fault of the catalogue, whoever left it behind; empties a whole stack for a run.

Safe to call on a stack that nothing was done to.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from scripts.chaos import clock_faults, operation_faults, postgres_faults, redis_faults
from scripts.chaos.faults import restored
from scripts.chaos.nemesis import IN_THE_WAY
from scripts.chaos.scene import Scene
from scripts.drills import steady_state
from scripts.stack import history
from scripts.stack.errors import StackError

#: Seconds: a thawed Sentinel tilts for 30, a cut ends by itself after 180.
WHOLE_SECONDS: Final = 200.0
_PAUSE_SECONDS: Final = 2.0

#: All that a run leaves behind. Keys, others' schedules and what the loops keep about themselves stay.
#: A checkpoint gives up the WAL of the run before: the volume is small.
_EMPTY: Final = """
TRUNCATE job, job_event, dead_letter, effect, idempotency_key, kind_breaker, probe_count, replay_audit;
DELETE FROM schedule WHERE name LIKE 'chaos-%';
CHECKPOINT;
"""

Part = Callable[[Scene], None]


def _containers(scene: Scene) -> None:
    restored(scene, *scene.services)


def _memory(scene: Scene) -> None:
    if silent := redis_faults.restore_maxmemory(scene):
        raise StackError(f"{', '.join(silent)} did not answer", fix="make ps")


#: In this order: Postgres starts on no full volume, and what speaks to a node needs it up.
PARTS: Final[Sequence[Part]] = (
    postgres_faults.drop_ballast,
    _containers,
    clock_faults.true_clocks,
    operation_faults.single,
    _memory,
    postgres_faults.end_sessions,
    operation_faults.end_storms,
)


def heal(scene: Scene, *, within: float = WHOLE_SECONDS, parts: Sequence[Part] = PARTS) -> None:
    """Every part, again and again until each has succeeded once. Raises StackError with the last reason."""
    deadline = time.monotonic() + within
    left = list(parts)
    while True:
        left, reason = _tried(scene, left)
        if not left:
            return
        if time.monotonic() >= deadline:
            raise StackError(f"{scene.stack.project} could not be healed: {reason}", fix="make chaos-down")
        time.sleep(_PAUSE_SECONDS)


def _tried(scene: Scene, parts: Sequence[Part]) -> tuple[list[Part], str]:
    left, reason = [], ""
    for part in parts:
        try:
            part(scene)
        except IN_THE_WAY as error:
            left.append(part)
            reason = str(error)
    return left, reason


def _flush(scene: Scene) -> None:
    scene.nodes.ask(scene.primary(), "FLUSHALL")  # refused while no replica follows


def empty(scene: Scene, *, is_healed: bool = False) -> None:
    """A whole stack without jobs, hints or dead letters. `is_healed`: by the end of the run before, a moment ago.

    Raises StackError when it does not become whole.
    """
    if not is_healed:
        heal(scene)
    scene.truth.rows(_EMPTY)
    heal(scene, parts=(_flush,))
    steady_state.require(scene.stack, within=WHOLE_SECONDS)
    # What that look itself sent through is no part of the run.
    scene.truth.rows(_EMPTY)
    history.clear(scene.stack)
