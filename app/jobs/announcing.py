"""Dead letters are announced on a stream, by the sweeper alone, in both modes, from the table.

Announced first, marked then: a crash in between, or another sweeper at the same moment, announces a letter twice.
"""

from typing import Final

from django.db import connection

from dispatch import Announcement, announce, breaker_is_open
from dispatch.announcements import PAYLOAD_BYTES
from jobs import sql
from postgres_deadline.budget import paused

#: Letters of one round: at most 400 KiB in one round trip.
BATCH: Final = 100


def announce_letters() -> int:
    """Announces the oldest letters that wait for it. Returns how many; 0 also while Redis takes none."""
    if breaker_is_open():
        return 0
    waiting = _waiting()
    if not waiting:
        return 0
    with paused():
        taken = announce(waiting)
    if not taken:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(sql.MARK_ANNOUNCED, {"ids": [letter.letter for letter in waiting]})
    return len(waiting)


def _waiting() -> list[Announcement]:
    with connection.cursor() as cursor:
        cursor.execute(sql.UNANNOUNCED, {"characters": PAYLOAD_BYTES, "limit": BATCH})
        return [Announcement(str(letter_id), *rest) for letter_id, *rest in cursor.fetchall()]
