"""The one clock: the database's."""

import time
from datetime import datetime
from typing import Final

from django.db import connection

#: Seconds. Less than any lease has left when it is renewed.
STEP_SECONDS: Final = 1.0


def database_now() -> datetime:
    """Now, aware."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]  # type: ignore[no-any-return]


class StepWatch:
    """Sees that clock jump forward, against this process's own: every lease would end early."""

    def __init__(self) -> None:
        self._ahead: float | None = None  #: of the monotonic clock, at most

    def has_stepped(self) -> bool:
        """Whether it has since the last call. An answer that comes late is no step."""
        asked = time.monotonic()
        now = database_now().timestamp()
        answered = time.monotonic()
        known, self._ahead = self._ahead, now - asked
        return known is not None and now - answered > known + STEP_SECONDS
