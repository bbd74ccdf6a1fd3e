"""A worker's pool follows from its queue."""

import pytest

from dispatch import POOLS
from dispatch.pools import VISIBILITY_TIMEOUT_SECONDS
from worker.limits import WorkerQueuesError, pool_of


@pytest.mark.parametrize("name", POOLS)
def test_the_queue_names_the_pool(name: str) -> None:
    assert pool_of([POOLS[name].queue]) is POOLS[name]
    assert pool_of(POOLS[name].queue) is POOLS[name]


@pytest.mark.parametrize("queues", [None, [], "celery", ["fast", "io"], "fast,cpu", ["fast", "celery"]])
def test_other_queues_are_refused_with_the_flag_to_use(queues: list[str] | str | None) -> None:
    with pytest.raises(WorkerQueuesError, match="--queues=fast"):
        pool_of(queues)


def test_a_restored_message_never_meets_its_own_attempt() -> None:
    assert all(pool.hard_limit_seconds < VISIBILITY_TIMEOUT_SECONDS for pool in POOLS.values())
    assert all(pool.soft_limit_seconds < pool.hard_limit_seconds for pool in POOLS.values())
