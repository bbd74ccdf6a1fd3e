"""While a handler runs, its database connection refuses writes.

A write outside the fenced finish would be committed by every attempt, also by one whose lease is lost. Handlers read
as they like and return their writes as effects.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from django.db import connection

from jobs.errors import WriteRefused

_READS: Final = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DECLARE", "FETCH", "CLOSE"})
_TRANSACTION: Final = frozenset({"BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT"})
_COMMENTS: Final = re.compile(r"\A(?:\s+|--[^\n]*\n|/\*.*?\*/|\()*", re.DOTALL)
#: Also finds the data-modifying half of WITH, EXPLAIN ANALYZE and SELECT INTO. Quoted text is cut out before.
_WRITES: Final = re.compile(
    r"\b(INSERT\s+INTO|UPDATE\s+(ONLY\s+)?[\w.\"$]+(\s+(AS\s+)?\w+)?\s+SET|DELETE\s+FROM|MERGE\s+INTO|SELECT\b[^;]*?\bINTO"
    r"|NEXTVAL|SETVAL|PG_NOTIFY|LO_CREATE)\b",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'")


_ledger: Final[ContextVar[bool]] = ContextVar("jobs_ledger_writes", default=False)


@contextmanager
def ledger_writes() -> Iterator[None]:
    """Lets `jobs.effects` commit an intent while a handler runs; for nobody else."""
    token = _ledger.set(True)
    try:
        yield
    finally:
        _ledger.reset(token)


@contextmanager
def refusing_writes() -> Iterator[None]:
    """Within it, a statement on the default connection that could write raises WriteRefused."""
    with connection.execute_wrapper(_refuse):
        yield


def _refuse(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:  # noqa: ANN401
    statement = str(sql)
    if not (is_read(statement) or _ledger.get()):
        raise WriteRefused(
            f"a handler ran {' '.join(statement.split())[:80]!r}: return the write as an effect, Done(effects=[…])"
        )
    return execute(sql, params, many, context)


def is_read(statement: str) -> bool:
    """Whether the statement cannot change a row, as far as its text shows."""
    words = _COMMENTS.sub("", statement).split(None, 1)
    verb = words[0].upper().rstrip(";") if words else ""
    if verb in _TRANSACTION:
        return True
    return verb in _READS and not _WRITES.search(_QUOTED.sub("''", statement))
