"""Which steps a run takes, how often, and what it must have come across."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class World:
    """Which steps there are, and how often each is drawn."""

    name: str
    steps: Mapping[str, int]
    has_sweeper: bool
    window: int  #: DISPATCH_WINDOW
    deaths: int  #: that one run may have
    sometimes: tuple[str, ...]  #: what a few seeds must have seen, or they prove nothing


EVERY_FAULT: Final = World(
    "every-fault",
    {
        **{"submit": 6, "submit_in_transaction": 2, "cancel": 1, "bridge": 6, "work": 8, "hold_message": 1},
        **{"freeze": 3, "thaw": 2, "overtake": 1, "hand_back": 1, "time_passes": 3, "sweep": 4},
        **{"flush": 1, "destroy_group": 1, "retire": 1},
    },
    has_sweeper=True,
    window=3,
    deaths=25,
    sometimes=(
        *("client died", "bridge died", "worker died", "sweeper died", "flushed", "group destroyed"),
        *("rescued", "overtaken", "stale end", "handed back"),
        *("cancelled", "hinted again", "entry suppressed", "dead letter"),
    ),
)

#: Nobody hints again, so each hint must come through as long as Redis keeps what it took.
BRIDGE_ALONE: Final = World(
    "bridge-alone",
    {"submit": 4, "submit_in_transaction": 2, "bridge": 6, "work": 3, "destroy_group": 1, "retire": 1, "abandon": 3},
    has_sweeper=False,
    window=10_000,
    deaths=10,
    sometimes=("bridge died", "group destroyed", "entries abandoned"),
)
