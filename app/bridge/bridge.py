"""The bridge: takes entries from the stream, drops what needs no work, publishes the rest as Celery messages.

Publish, acknowledge and delete are one transaction, so an entry is either pending or done. What the bridge repeats
after a crash is a duplicate that the claim suppresses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog
from redis import exceptions

from bridge.consumer_group import ConsumerGroup, Entry
from dispatch import Hint, MalformedHint, UnknownHintVersion, messages
from dispatch.courier import Command, execute
from jobs import dead_letters, selectors
from jobs.states import Reason
from metrics.catalogue import BRIDGE_ENTRIES

_log = structlog.get_logger(__name__)

#: Deliveries after which an entry is taken for one that kills the bridge.
POISON_DELIVERIES: Final = 10


@dataclass(slots=True)
class Round:
    """What became of one batch."""

    published: int = 0
    suppressed: int = 0
    dead: int = 0
    left: int = 0  #: of an unknown version, for a newer reader


@dataclass(slots=True)
class _Sorted:
    hints: list[tuple[Entry, Hint]] = field(default_factory=list)
    dead: list[tuple[Entry, Reason, str]] = field(default_factory=list)
    left: list[Entry] = field(default_factory=list)


class Bridge:
    """Runs rounds. One instance per process; errors of Redis and Postgres come out of `run_once`."""

    def __init__(self, group: ConsumerGroup) -> None:
        self._group = group
        self._batch: list[Entry] = []  #: read and not done: a refused transaction changed nothing

    def run_once(self, *, block_ms: int) -> Round:
        """Takes one batch to its end. After an error the same entries are taken again."""
        self._batch = self._batch or self._group.read(block_ms=block_ms)
        if not self._batch:
            return Round()
        sorted_ = _sort(self._batch)
        wanted = _wanted([hint for _, hint in sorted_.hints])
        self._record_dead(sorted_)
        self._commit(sorted_, wanted)
        self._batch = []
        self._group.forget_deliveries([entry.id for entry in sorted_.left])
        done = Round(len(wanted), len(sorted_.hints) - len(wanted), len(sorted_.dead), len(sorted_.left))
        _count(done)
        return done

    def _record_dead(self, sorted_: _Sorted) -> None:
        for entry, reason, detail in sorted_.dead:
            _log.error("stream entry is dead-lettered", entry=entry.id.decode(), reason=str(reason), detail=detail)
            dead_letters.record_entry(
                entry_id=entry.id.decode(), fields=_readable(entry), reason=str(reason), deliveries=entry.deliveries
            )

    def _commit(self, sorted_: _Sorted, wanted: Sequence[Hint]) -> None:
        ended = [entry.id for entry, _ in sorted_.hints] + [entry.id for entry, _, _ in sorted_.dead]
        if not ended:
            return
        commands: list[Command] = [*messages.render(wanted), *self._group.acknowledgement(ended)]
        try:
            execute(self._group.client, commands)
        except (exceptions.ConnectionError, exceptions.TimeoutError):
            self._batch = []
            self._group.reread_own_pending()
            raise


def _sort(batch: Sequence[Entry]) -> _Sorted:
    result = _Sorted()
    for entry in batch:
        try:
            hint = Hint.from_fields(entry.fields)
            messages.require_pool(hint)
        except UnknownHintVersion as unknown:
            result.left.append(entry)
            _log.info("entry of a newer release is left pending", entry=entry.id.decode(), v=unknown.version)
        except MalformedHint as malformed:
            result.dead.append((entry, Reason.BRIDGE_MALFORMED, str(malformed)))
        else:
            if entry.deliveries > POISON_DELIVERIES:
                result.dead.append((entry, Reason.BRIDGE_POISON, f"delivered {entry.deliveries} times"))
            else:
                result.hints.append((entry, hint))
    return result


def _wanted(hints: Sequence[Hint]) -> list[Hint]:
    """One hint for each job that can be claimed now, in the order of the stream: one SELECT per batch."""
    newest: dict[UUID, Hint] = {}
    for hint in hints:
        known = newest.get(hint.job_id)
        newest[hint.job_id] = hint if known is None or hint.gen > known.gen else known
    can_run = selectors.dispatchable(list(newest))
    return [hint for job_id, hint in newest.items() if job_id in can_run]


def _readable(entry: Entry) -> dict[str, str]:
    return {_storable(name): _storable(value) for name, value in entry.fields.items()}


def _storable(raw: bytes) -> str:
    """Postgres takes no NUL: an entry that could not be recorded would stop the bridge for good."""
    return raw.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _count(done: Round) -> None:
    BRIDGE_ENTRIES.labels("published").inc(done.published)
    BRIDGE_ENTRIES.labels("suppressed").inc(done.suppressed)
    BRIDGE_ENTRIES.labels("dead").inc(done.dead)
