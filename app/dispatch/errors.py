"""Errors of dispatch: one root, and the closed list of reasons why a hint was not taken."""

from enum import StrEnum


class Reason(StrEnum):
    """Why the broker did not take a hint. Closed: it is a metric label."""

    BREAKER = "breaker"  #: the circuit breaker is open, nothing was tried
    DEADLINE = "deadline"  #: no answer within the budget; the hint may still have landed
    UNREACHABLE = "unreachable"  #: no connection, or no primary known
    MEMORY = "memory"  #: Redis is at maxmemory
    READ_ONLY = "read_only"  #: the node is a replica, or has too few of them
    STREAM_FULL = "stream_full"  #: NDVI_STREAM_MAXLEN entries wait for the bridge
    REJECTED = "rejected"  #: Redis answered with another error


class DispatchError(Exception):
    """Root of the errors that dispatch raises."""


class DispatchRefused(DispatchError):
    """The broker did not take the hints; their rows stay due and the sweeper hints again."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"The broker did not take the hints ({reason}){': ' if detail else ''}{detail}")

    @property
    def is_broker_fault(self) -> bool:
        """True when Redis itself failed, so that the next call would fail too."""
        return self.reason not in (Reason.BREAKER, Reason.STREAM_FULL)


class MalformedHint(DispatchError):
    """A stream entry or message is not a hint: the message names the field."""


class UnknownHintVersion(DispatchError):
    """A hint was written by a newer release: leave it for a newer reader."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"Hint has version {version!r}, which this release does not read: upgrade this process.")
