"""What a backlog costs: the same operations, and the same drain, with 1,000, 100,000 and 1,000,000 open jobs."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.bench import usage
from tests.bench.contenders import Holdfast
from tests.servers.waiting import wait_until

type Record = dict[str, Any]

SIZES: Final = (1_000, 100_000, 1_000_000)
#: Jobs drained while so many are open.
DRAIN_JOBS: Final = 20_000
DRAIN_SECONDS: Final = 400.0
#: Rounds of the drain at most: one takes a minute or two.
DRAIN_ROUNDS: Final = 2
#: Repetitions of each operation in a round.
TIMES: Final = 60
#: A pool that drains 2/s: two processes, a second of work each.
SLOW_WORK_MS: Final = 1000
SLOW_OPEN: Final = 200_000
SLOW_SECONDS: Final = 60.0
SAMPLE_SECONDS: Final = 0.5

#: In: how many, milliseconds of work, first number. Ids ascend, as those of real submits do; no event, nothing hinted.
_FILL: Final = """
    INSERT INTO job (id, owner, identity, request_hash, hash_version, kind, pool, farm_id, params, priority, root_id,
                     state, max_attempts, next_dispatch_at, grace_seconds, accepted_at, files)
    SELECT id, 'backlog', 'force:' || id, md5(n::text) || md5(n::text), 1, 'probe.fast', 'fast', '',
           jsonb_build_object('work_ms', %(work_ms)s::int, 'tag', n::text), 3, id, 'QUEUED', 5, clock_timestamp(), 5,
           clock_timestamp(), '[]'
    FROM (SELECT n, ('01980000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
          FROM generate_series(%(first)s::bigint, %(first)s::bigint + %(count)s::bigint - 1) n) numbered
"""


def fill(contender: Holdfast, count: int, *, first: int = 1, work_ms: int = 0) -> float:
    """Seconds that it took. The planner's statistics stay what autovacuum makes of them."""
    began = time.monotonic()
    contender.observer.execute(_FILL, {"count": count, "first": first, "work_ms": work_ms})
    return time.monotonic() - began


def operations(contender: Holdfast, size: int, *, statistics: str) -> Iterator[Record]:
    """Median milliseconds of claim, sweep, list and submit, and the index that each plan reads."""
    timed = contender.submitter("timings", times=TIMES)
    for name, found in timed.items():
        yield {
            "shape": "operation",
            "operation": name,
            "open": size,
            "statistics": statistics,
            "ms": found["ms"],
            "plan": found["plan"],
        }


def drain(contender: Holdfast, size: int, *, first: int) -> Iterator[Record]:
    """20,000 jobs more than `size` are open at the start; the rate until 20,000 are done."""
    contender.halt_workers()
    contender.observer.execute("TRUNCATE probe_count")
    fill(contender, DRAIN_JOBS, first=first)
    before = usage.read(contender.measured, contender.statements, contender.database)
    began = time.time()
    contender.resume_workers()
    memory = _Samples(contender)
    memory.until(lambda: contender.done()[0] >= DRAIN_JOBS, seconds=DRAIN_SECONDS)
    seconds = time.time() - began
    contender.halt_workers()
    after = usage.read(contender.measured, contender.statements, contender.database)
    done = contender.done()[0]
    yield {
        "shape": "drain of 20,000",
        "open": size,
        "per_second": done / seconds,
        **after.per_job(before, done),
        **memory.figures(),
    }


def slow_pool(contender: Holdfast) -> Iterator[Record]:
    """A pool that drains 2/s before 200,000 open jobs: what is told to Redis must stay bounded."""
    fill(contender, SLOW_OPEN, work_ms=SLOW_WORK_MS)
    contender.resume_workers()
    memory = _Samples(contender)
    until = time.monotonic() + SLOW_SECONDS
    memory.until(lambda: time.monotonic() > until, seconds=SLOW_SECONDS + 10)
    yield {"shape": "slow pool", "open": SLOW_OPEN, "finished": contender.done()[0], **memory.figures()}


class _Samples:
    """Redis's memory and messages, and the bridge's memory, over time."""

    def __init__(self, contender: Holdfast) -> None:
        self._contender = contender
        self._seen: list[tuple[float, int, int, int]] = []

    def until(self, is_over: Callable[[], bool], *, seconds: float) -> None:
        self._sample()

        def sampled_and_over() -> bool:
            self._sample()
            return is_over()

        wait_until(sampled_and_over, "the drain did not end", seconds=seconds, every=SAMPLE_SECONDS)

    def figures(self) -> Record:
        """MiB and messages at the start, at the most and at the end; every sample beside."""
        redis, messages, bridge = ([sample[column] for sample in self._seen] for column in (1, 2, 3))
        return {
            "redis_mib": [round(value / 2**20, 1) for value in (redis[0], max(redis), redis[-1])],
            "messages": [messages[0], max(messages), messages[-1]],
            "bridge_mib": [round(value / 2**20, 1) for value in (bridge[0], max(bridge), bridge[-1])],
            "samples": [(round(at - self._seen[0][0], 1), used, count) for at, used, count, _ in self._seen],
        }

    def _sample(self) -> None:
        with self._contender.servers.operator(0) as client:
            used = int(client.info("memory")["used_memory"])
        bridges = [process for process in self._contender.workers if process.name.startswith("bridge")]
        self._seen.append((time.monotonic(), used, self._contender.messages(), usage.memory_bytes(bridges)))
