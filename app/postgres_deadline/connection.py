"""The psycopg connection whose every wait ends at the caller's deadline."""

from typing import Any, ClassVar, Self

import psycopg
from psycopg.abc import RV, PQGen

from postgres_deadline import budget
from postgres_deadline.breaker import breaker
from postgres_deadline.errors import DeadlineExpired

#: Seconds between two looks at signals while waiting; psycopg's own default.
_WAIT_INTERVAL = 0.1


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that is closed when Postgres does not answer before `budget.remaining()` is spent.

    Every statement, COMMIT and ROLLBACK of psycopg goes through `wait`, so one override bounds them all. After the
    expiry libpq still waits for the answer: the connection could only be misread, hence it is closed, not reused.
    """

    #: Whether an expiry opens the process's breaker; the breaker's own probe does not report to it.
    reports: ClassVar[bool] = True

    #: Whether the session was set to refuse writes; see `read_only`.
    refuses_writes = False

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:  # noqa: ANN401 - as psycopg's
        """As psycopg's; raises psycopg.OperationalError. The parameters also serve the breaker's probe."""
        if not cls.reports:
            return super().connect(conninfo, **kwargs)
        breaker.probe_with(lambda: _probe(conninfo, kwargs))
        try:
            return super().connect(conninfo, **kwargs)
        except psycopg.OperationalError as error:
            # Often a pool's own thread: who waits for the pool is only told that it took too long.
            breaker.trip(str(error))
            raise

    def wait(self, gen: PQGen[RV], interval: float = _WAIT_INTERVAL, timeout: float | None = None) -> RV:
        """As psycopg's; raises DeadlineExpired when the budget is spent."""
        left = budget.remaining()
        if left is None or (timeout is not None and timeout < left):
            return super().wait(gen, interval=interval, timeout=timeout)
        if left <= 0.0:
            raise self._expire("the deadline had passed before the statement was sent")
        try:
            return super().wait(gen, interval=interval, timeout=left)
        except psycopg.errors._WaitTimeout:
            raise self._expire("Postgres did not answer before the deadline") from None

    def _expire(self, reason: str) -> DeadlineExpired:
        self.pgconn.finish()
        if self.reports:
            breaker.trip(reason)
        return DeadlineExpired(f"{reason}; the outcome of what was sent is unknown: repeat it under the same key")


class _ProbeConnection(DeadlineConnection):
    reports = False


def _probe(conninfo: str, kwargs: dict[str, Any]) -> None:
    """One round trip on a fresh connection; raises psycopg.Error when Postgres does not serve within 2 seconds."""
    with budget.deadline(2.0), _ProbeConnection.connect(conninfo, **{**kwargs, "connect_timeout": 2}) as connection:
        connection.execute("SELECT 1")
