"""The dead-letter stream: announcements of letters that Postgres keeps whole.

    <dead-letter stream>    stream: XADD … MAXLEN ~ 10000; nobody consumes it here

Nothing rests on it, so it may be trimmed; the work stream never is. An announcement may come twice: `letter` tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dispatch.courier import Command

#: About as many announcements stay; older ones are trimmed.
STREAM_ENTRIES: Final = 10_000
#: Bytes of a payload; the rest of it stands in Postgres.
PAYLOAD_BYTES: Final = 4096

VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One dead letter in short. Times in Unix milliseconds."""

    letter: str  #: id of the dead letter
    original_id: str  #: the job's id, or the entry's where no job could be found
    owner: str
    kind: str
    pool: str
    reason: str
    deliveries: int  #: attempts of the job, or deliveries of the entry
    error_class: str
    payload: str  #: JSON; what is cut off makes it none
    accepted_ms: int  #: 0 when nobody knows
    dead_ms: int

    def to_fields(self) -> dict[str, str | bytes | int]:
        """The stream entry's fields."""
        return {
            "v": VERSION,
            "letter": self.letter,
            "id": self.original_id,
            "owner": self.owner,
            "kind": self.kind,
            "pool": self.pool,
            "reason": self.reason,
            "deliveries": self.deliveries,
            "error": self.error_class,
            "payload": self.payload.encode()[:PAYLOAD_BYTES],
            "accepted_ms": self.accepted_ms,
            "at_ms": self.dead_ms,
        }


def render(stream: str, announcements: Sequence[Announcement]) -> list[Command]:
    """One XADD per announcement, in their order."""
    return [
        ("XADD", stream, "MAXLEN", "~", STREAM_ENTRIES, "*", *(part for item in fields.items() for part in item))
        for fields in (announcement.to_fields() for announcement in announcements)
    ]
