"""The bridge: takes entries from the stream, drops what needs no work, publishes the rest as Celery messages.

Publish, acknowledge and delete are one step that only pending entries can take, so an entry is in at most one message,
however many bridges hold it and however often the step is repeated. Entries of one read may share a message. Two
entries of one job can give two messages; the claim suppresses the second.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import structlog

import history
from bridge.consumer_group import ConsumerGroup, Entry, Publication
from dispatch import Hint, MalformedHint, UnknownHintVersion, messages
from jobs import dead_letters, selectors
from jobs.states import Reason
from metrics.catalogue import BRIDGE_ENTRIES, JOBS_STAGE_SECONDS

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
    overtaken: int = 0  #: another bridge ended them while we held them


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
        wanted = _wanted(sorted_.hints)
        self._record_dead(sorted_)
        ended = self._end(sorted_, wanted)
        self._batch = []
        self._group.hand_back(sorted_.left)
        done = _round(sorted_, wanted, ended)
        _count(done)
        if history.recorder is not None:
            _note(history.recorder, sorted_, wanted, ended)
        _observe([hint for entry_id, hint in wanted.items() if entry_id in ended])
        return done

    def hand_back(self) -> None:
        """To call before a stop: what was read and not done is anybody's at once. Raises what Redis raises."""
        batch, self._batch = self._batch, []
        self._group.hand_back(batch)

    def _record_dead(self, sorted_: _Sorted) -> None:
        for entry, reason, detail in sorted_.dead:
            _log.error("stream entry is dead-lettered", entry=entry.id.decode(), reason=str(reason), detail=detail)
            dead_letters.record_entry(
                entry_id=entry.id.decode(), fields=_readable(entry), reason=str(reason), deliveries=entry.deliveries
            )

    def _end(self, sorted_: _Sorted, wanted: Mapping[bytes, Hint]) -> set[bytes]:
        read = [*(entry.id for entry, _ in sorted_.hints), *(entry.id for entry, _, _ in sorted_.dead)]
        dropped = [Publication([entry_id]) for entry_id in read if entry_id not in wanted]
        together = messages.batches(list(wanted.values()))
        ended, left = self._group.end([*dropped, *_publications(together, wanted)])
        if not left:
            return ended
        alone = [[hint] for entry_id, hint in wanted.items() if entry_id in left]
        return ended | self._group.end(_publications(alone, wanted))[0]


def _publications(groups: Sequence[Sequence[Hint]], wanted: Mapping[bytes, Hint]) -> list[Publication]:
    """A message for each group, and the entries that its hints came from."""
    entry_of = {hint.job_id: entry_id for entry_id, hint in wanted.items()}
    return [
        Publication([entry_of[hint.job_id] for hint in group], name, message)
        for group, (name, message) in zip(groups, messages.rendered(groups), strict=True)
    ]


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


def _wanted(hints: Sequence[tuple[Entry, Hint]]) -> dict[bytes, Hint]:
    """Entry id -> hint, one for each job that can be claimed now, in the order of the stream: one SELECT per batch."""
    newest: dict[UUID, tuple[Entry, Hint]] = {}
    for entry, hint in hints:
        known = newest.get(hint.job_id)
        newest[hint.job_id] = (entry, hint) if known is None or hint.gen > known[1].gen else known
    can_run = selectors.dispatchable(list(newest))
    return {
        entry.id: replace(hint, batchable=can_run[job_id])
        for job_id, (entry, hint) in newest.items()
        if job_id in can_run
    }


def _round(sorted_: _Sorted, wanted: Collection[bytes], ended: Collection[bytes]) -> Round:
    hints = [entry.id for entry, _ in sorted_.hints if entry.id in ended]
    dead = [entry.id for entry, _, _ in sorted_.dead if entry.id in ended]
    published = sum(entry_id in wanted for entry_id in hints)
    overtaken = len(sorted_.hints) + len(sorted_.dead) - len(ended)
    return Round(published, len(hints) - published, len(dead), len(sorted_.left), overtaken)


def _readable(entry: Entry) -> dict[str, str]:
    return {_storable(name): _storable(value) for name, value in entry.fields.items()}


def _storable(raw: bytes) -> str:
    """Postgres takes no NUL: an entry that could not be recorded would stop the bridge for good."""
    return raw.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _note(recorder: history.Recorder, sorted_: _Sorted, wanted: Collection[bytes], ended: Collection[bytes]) -> None:
    hints = [(entry.id, {"job": hint.job_id, "gen": hint.gen}) for entry, hint in sorted_.hints if entry.id in ended]
    recorder.note("ok", "bridge", (event for entry_id, event in hints if entry_id in wanted))
    dropped = [{**event, "reason": "suppressed"} for entry_id, event in hints if entry_id not in wanted]
    dead = [{"entry": entry.id.decode(), "reason": reason} for entry, reason, _ in sorted_.dead if entry.id in ended]
    recorder.note("fail", "bridge", [*dropped, *dead])


def _count(done: Round) -> None:
    BRIDGE_ENTRIES.labels("published").inc(done.published)
    BRIDGE_ENTRIES.labels("suppressed").inc(done.suppressed)
    BRIDGE_ENTRIES.labels("dead").inc(done.dead)
    if done.overtaken:
        _log.info("another bridge ended entries that we held", entries=done.overtaken)


def _observe(published: Sequence[Hint]) -> None:
    """By two machines' clocks: what the difference of clocks makes negative counts as no time at all."""
    now_ms = time.time() * 1000
    for hint in published:
        JOBS_STAGE_SECONDS.labels("dispatch_to_bridge").observe(max(0.0, now_ms - hint.enqueued_ms) / 1000)
