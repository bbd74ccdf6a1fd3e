"""Counts what must never be true. The queries stand in invariants.sql, which `make verify-data` reads too."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from django.db.backends.utils import CursorWrapper
from prometheus_client.core import Metric

from exporter.families import family
from exporter.postgres_truth import reading
from metrics import catalogue

#: How far back ended jobs are looked at, and at how many rows of each sort.
WINDOW: Final = timedelta(hours=1)
ROWS: Final = 10_000

#: A count stops here: how broken it is beyond that changes nothing.
MOST: Final = 1000

_SECTION: Final = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


def _queries(text: str) -> Iterator[tuple[str, str]]:
    values: dict[str, object] = {"seconds": int(WINDOW.total_seconds()), "rows": ROWS}
    for name, section in _SECTION.findall(text):
        query = section % values
        if name.startswith("_"):
            values[name] = query
        else:
            yield name, f"SELECT count(*) FROM ({query} LIMIT {MOST}) AS broken"  # noqa: S608 - our own file


#: Name of the invariant (the metric's label) and the count of what breaks it, at most MOST.
QUERIES: Final[Mapping[str, str]] = dict(_queries(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")))


def read() -> Sequence[Metric]:
    """One family, a sample per invariant. Raises django.db.Error when Postgres does not answer in time."""
    with reading() as cursor:
        return [
            family(catalogue.INVARIANT_VIOLATIONS, [((name,), _count(cursor, sql)) for name, sql in QUERIES.items()])
        ]


def _count(cursor: CursorWrapper, sql: str) -> float:
    cursor.execute(sql)
    return float(cursor.fetchone()[0])
