"""What drills ask of the stack while they break it: probe jobs, each of which counts its own effect."""

from collections.abc import Callable
from typing import Final, NamedTuple

from scripts.drills.load import Load, Target
from scripts.stack.deployment import Stack

_JOBS_PATH: Final = "/api/v1/jobs"


class Work(NamedTuple):
    """One probe job."""

    kind: str
    work_ms: int = 0


#: Ten requests of the mixed load: at 100/s every pool is busy and something is always in the middle of its work, while
#: two cores are far from full.
_MIX: Final = (
    Work("probe.fast"),
    Work("probe.io", 50),
    Work("probe.fast", 100),
    Work("probe.fast"),
    Work("probe.cpu", 20),
    Work("probe.fast", 300),
    Work("probe.io"),
    Work("probe.fast"),
    Work("probe.io", 400),
    Work("probe.fast"),
)

#: The same with every pool as often as any other: how soon a pool's jobs flow again cannot be seen more finely than its
#: next job is due.
_EVEN: Final = (
    Work("probe.fast"),
    Work("probe.io", 50),
    Work("probe.cpu", 20),
    Work("probe.fast", 100),
    Work("probe.io"),
    Work("probe.cpu"),
    Work("probe.fast", 300),
    Work("probe.io", 400),
    Work("probe.cpu"),
)


def fast(_index: int) -> Work:
    """Nothing but the machinery itself."""
    return Work("probe.fast")


def mixed(index: int) -> Work:
    """All three pools, a part with work to interrupt."""
    return _MIX[index % len(_MIX)]


def even(index: int) -> Work:
    """All three pools alike, a part with work to interrupt."""
    return _EVEN[index % len(_EVEN)]


def target_of(stack: Stack) -> Target:
    """The stack's API, with its first key."""
    headers = {"Authorization": f"Bearer {stack.value('HOLDFAST_API_KEY')}"}
    return Target(stack.value("PUBLISH_ADDRESS"), int(stack.value("WEB_PORT")), headers)


def probe_load(stack: Stack, *, tag: str, count: int, rate: float, work: Callable[[int], Work] = fast) -> Load:
    """`count` requests. `force`, so that nothing but the Idempotency-Key of each tells a repetition from a new one."""

    def body(index: int) -> dict[str, object]:
        kind, work_ms = work(index)
        return {
            "kind": kind,
            "farm_id": "drill",
            "params": {"tag": f"{tag}-{index}", "work_ms": work_ms},
            "force": True,
        }

    return Load(target_of(stack), _JOBS_PATH, make_body=body, count=count, rate=rate, key=tag)
