"""Who falls into which trap, as it was when somebody last looked. Each line is run: one that no longer holds fails.

Holdfast's bridge has no lines here and may have none.
"""

from collections.abc import Mapping
from typing import Final

NAIVE_LOOP: Final[Mapping[int, str]] = {
    1: "XADD MAXLEN deletes entries that nobody has read",
    2: "XACK leaves every entry in the stream",
    3: "nothing claims what a dead consumer left, so nothing sees that it is gone",
    4: "nothing claims what a dead consumer left",
    5: "nothing claims what a dead consumer left",
    6: "nothing claims what a dead consumer left, nor sets it aside",
    9: "XGROUP DELCONSUMER on exit drops the pending entries, a kill leaves a consumer behind",
    10: "a group made again at $ hides what was sent before",
    11: "a lag that Redis does not know is shown as 0",
    12: "what Redis lost is nowhere else",
    13: "acknowledged entries that come back are worked on again",
    14: "a repeated XADD is a second piece of work",
    15: "nothing claims what a dead consumer left",
    16: "delayed work blocks what comes behind it",
    17: "the payload stands in the stream",
    18: "the request waits for Redis",
}
FASTSTREAM: Final[Mapping[int, str]] = {
    2: "XACK leaves every entry in the stream",
    3: "ids that XAUTOCLAIM reports as deleted are dropped without a word",
    6: "no ceiling: an entry that was delivered fifty times is begun once more",
    7: "work that outlasts min_idle_time is started a second time",
    8: "the stale owner goes on and applies its work, too",
    10: "a group made again at $ hides what was sent before",
    12: "what Redis lost is nowhere else",
    13: "acknowledged entries that come back are worked on again",
    14: "a repeated publish is a second piece of work",
    17: "the payload stands in the stream",
    18: "the request waits for Redis",
}
