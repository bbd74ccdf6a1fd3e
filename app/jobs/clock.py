"""The one clock: the database's."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """Now, aware."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]  # type: ignore[no-any-return]
