"""The exporter's invariants, as a test says that one is broken."""

from collections.abc import Iterator

from django.db import connection

from exporter import invariants


def violations() -> Iterator[str]:
    """What is there now that must never be, in words."""
    with connection.cursor() as cursor:
        for name, query in invariants.QUERIES.items():
            cursor.execute(query)
            if cursor.fetchone()[0]:
                yield f"must never be: {name.replace('_', ' ')}"
