"""What a seed decides: when each request is due, its key, and when a fault strikes. The same for every system."""

import random
from dataclasses import dataclass
from typing import Final
from uuid import UUID

#: The request that shows a system to be running; it is in no script and in no count.
WARM_UP: Final = UUID(int=0)

#: Requests a second between the bursts.
RATE: Final = 6.0
#: A burst before each instant at which a fault may strike, so that it finds jobs that wait, jobs that a worker has
#: fetched and jobs that run.
BURST_REQUESTS: Final = 25
BURST_SECONDS: Final = 0.4
#: Seconds of the load, and until its first strike; seconds between two strikes.
LOAD_SECONDS: Final = 26.0
FIRST_STRIKE: Final = (5.0, 7.0)
NEXT_STRIKE: Final = (4.5, 6.0)
STRIKES: Final = 4


@dataclass(frozen=True)
class Script:
    """Seconds are since the load began."""

    requests: tuple[tuple[float, UUID], ...]  #: due, key; by time
    strikes: tuple[float, ...]


def drawn(seed: int) -> Script:
    """The script of a seed."""
    chosen = random.Random(seed)
    strikes = [chosen.uniform(*FIRST_STRIKE)]
    while len(strikes) < STRIKES:
        strikes.append(strikes[-1] + chosen.uniform(*NEXT_STRIKE))
    due = [at for strike in strikes for at in _burst(chosen, strike)]
    at = chosen.expovariate(RATE)
    while at < LOAD_SECONDS:
        due.append(at)
        at += chosen.expovariate(RATE)
    return Script(
        tuple((at, UUID(int=chosen.getrandbits(128), version=4)) for at in sorted(due)),
        tuple(strikes),
    )


def _burst(chosen: random.Random, strike: float) -> list[float]:
    return [strike - chosen.uniform(0.0, BURST_SECONDS) for _ in range(BURST_REQUESTS)]
