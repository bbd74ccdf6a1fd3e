"""One consumer of one Redis consumer group.

Keys and what is done to them:

    <stream>          stream: XREADGROUP, XAUTOCLAIM, XCLAIM, XPENDING, XACK + XDEL; XGROUP CREATE … 0 MKSTREAM
    <stream>/group    the group's pending list: an entry is in it from its delivery to its XACK
    the pools' lists  LPUSH

Rules: the group starts at 0, never at `$` (which hides what was added before). A claim pass keeps its cursor to the
end, because one call looks at ten times COUNT entries and may find none of the stale ones. No lock: XAUTOCLAIM is
atomic. Consumer names are stable, and a consumer is deleted only when idle and empty, checked and done in one script:
deleting one drops its pending entries for good. An entry ends once: a script looks whether it is still pending, and
only then publishes, acknowledges and deletes. XACK alone cannot tell, because a stale owner's succeeds.

Every command is one of Redis 7.0; nothing here needs a newer one.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import redis
import structlog
from redis import exceptions

from metrics.catalogue import BRIDGE_DELETED_PENDING, BRIDGE_GROUP_RECREATED

_log = structlog.get_logger(__name__)

#: Milliseconds a consumer is silent before an empty one is retired.
RETIRE_IDLE_MS: Final = 600_000

_BEFORE_ALL: Final = b"0-0"

#: KEYS[1] stream, ARGV group, milliseconds, the caller's own name. Returns the names it deleted.
_RETIRE: Final = """
local retired = {}
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for i = 1, #consumer, 2 do facts[consumer[i]] = consumer[i + 1] end
  if facts.name ~= ARGV[3] and facts.pending == 0 and facts.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
    retired[#retired + 1] = facts.name
  end
end
return retired
"""

#: KEYS[1] stream. ARGV group, then for each publication: how many entries it stands for, their ids, the list and the
#: message that they become, both empty for none. Returns the ids it ended, and those that are pending still: their
#: publication stands for an entry, too, that was ended before. Being flagged (`#!lua`), it is refused before its first
#: line at maxmemory, on a replica and on a primary with too few of them.
_END: Final = """#!lua
local stream, group = KEYS[1], ARGV[1]
local ended, left = {}, {}
local at = 2
while at <= #ARGV do
  local count, pending = tonumber(ARGV[at]), {}
  for i = at + 1, at + count do
    if #redis.call('XPENDING', stream, group, ARGV[i], ARGV[i], 1) == 1 then pending[#pending + 1] = ARGV[i] end
  end
  local list, message = ARGV[at + count + 1], ARGV[at + count + 2]
  local whole = #pending == count
  if whole and list ~= '' then redis.call('LPUSH', list, message) end
  for _, id in ipairs(pending) do
    if whole then ended[#ended + 1] = id else left[#left + 1] = id end
  end
  at = at + count + 3
end
if #ended > 0 then
  redis.call('XACK', stream, group, unpack(ended))
  redis.call('XDEL', stream, unpack(ended))
end
return {ended, left}
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A delivered entry. `deliveries` counts from 1; re-reading one's own pending entries counts too."""

    id: bytes
    fields: Mapping[bytes, bytes]
    deliveries: int = 1


@dataclass(frozen=True, slots=True)
class Publication:
    """What some entries become together: a message in a list, or nothing."""

    entries: Sequence[bytes]  #: ids
    list: str = ""
    message: str = ""


class ConsumerGroup:
    """Reads `stream` as `consumer` of `group`. `client` may block for at least `block_ms`; not for two threads."""

    def __init__(
        self, client: redis.Redis, *, stream: str, group: str, consumer: str, batch_size: int, claim_idle_ms: int
    ) -> None:
        self.client = client
        self.stream = stream
        self.group = group
        self.consumer = consumer
        self._batch_size = batch_size
        self._claim_idle_ms = claim_idle_ms
        self._own_cursor: bytes | None = _BEFORE_ALL  #: None when all of our own pending entries were seen
        self._claim_cursor = _BEFORE_ALL
        self._next_claim_at = 0.0
        self._was_seen = False

    def ensure(self) -> None:
        """Makes stream and group where they are missing."""
        try:
            self.client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except exceptions.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        else:
            if self._was_seen:
                BRIDGE_GROUP_RECREATED.inc()
                _log.warning("consumer group was lost and made again at 0", stream=self.stream, group=self.group)
        self._was_seen = True

    def read(self, *, block_ms: int) -> list[Entry]:
        """The next batch: our own pending entries first, then stale ones of others, then new ones.

        Blocks only when there is nothing else to do. A group or stream that vanished is made again.
        """
        for _ in range(2):
            with self._healing():
                return self._next(block_ms)
        return []

    def end(self, publications: Sequence[Publication]) -> tuple[set[bytes], set[bytes]]:
        """Pushes each message whose entries are all still pending, then acknowledges and deletes those entries: all of
        it or nothing. XACK alone would let the stream grow for ever.

        Returns the ids that it ended, and those that must be published without their companions, which were ended
        before. What is in neither was ended before, by whomever. So it may be repeated when the answer was lost, and by
        another consumer that took an entry over: each entry is published once.
        """
        if not publications:
            return set(), set()
        words: list[bytes | str | int] = []
        for one in publications:
            words += (len(one.entries), *one.entries, one.list, one.message)
        with self._healing():
            answer: Any = self.client.eval(_END, 1, self.stream, self.group, *words)
            return set(answer[0]), set(answer[1])
        return set(), set()

    def hand_back(self, entries: Sequence[Entry]) -> None:
        """Lets any consumer claim entries at once, and takes back the delivery that was not their fault."""
        deliveries: dict[int, list[bytes]] = {}
        for entry in entries:
            deliveries.setdefault(entry.deliveries - 1, []).append(entry.id)
        for count, ids in deliveries.items():
            self.client.xclaim(
                self.stream,
                self.group,
                self.consumer,
                min_idle_time=0,
                message_ids=list(ids),
                idle=self._claim_idle_ms,
                retrycount=count,
                justid=True,
            )

    def retire_idle_consumers(self, *, idle_ms: int = RETIRE_IDLE_MS) -> list[str]:
        """Deletes consumers that are silent and hold nothing; returns their names."""
        with self._healing():
            names: Any = self.client.eval(_RETIRE, 1, self.stream, self.group, idle_ms, self.consumer)
            return [name.decode() for name in names]
        return []

    def _next(self, block_ms: int) -> list[Entry]:
        try:
            return self._own_pending() or self._stale() or self._new(block_ms)
        except (exceptions.ConnectionError, exceptions.TimeoutError):
            # What was delivered by an answer that did not arrive is pending, and ours.
            self._own_cursor = _BEFORE_ALL
            raise

    def _own_pending(self) -> list[Entry]:
        while self._own_cursor is not None:
            found = self._read_group(self._own_cursor)
            self._own_cursor = found[-1][0] if found else None
            if alive := self._without_deleted(found):
                return self._with_deliveries(alive)
        return []

    def _stale(self) -> list[Entry]:
        while time.monotonic() >= self._next_claim_at:
            cursor, found, deleted = self._autoclaim()
            self._claim_cursor = cursor
            if cursor == _BEFORE_ALL:  # the pass is complete
                self._next_claim_at = time.monotonic() + self._claim_idle_ms / 1000 * random.uniform(0.4, 0.6)
            _account_deleted(deleted)
            if alive := self._without_deleted(found):
                return self._with_deliveries(alive)
        return []

    def _new(self, block_ms: int) -> list[Entry]:
        return [Entry(entry_id, fields) for entry_id, fields in self._read_group(b">", block_ms)]

    def _read_group(self, after: bytes, block_ms: int | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
        reply: Any = self.client.xreadgroup(
            self.group, self.consumer, {self.stream: after}, count=self._batch_size, block=block_ms
        )
        return _entries(reply)

    def _autoclaim(self) -> tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]], list[bytes]]:
        reply: Any = self.client.xautoclaim(
            self.stream,
            self.group,
            self.consumer,
            min_idle_time=self._claim_idle_ms,
            start_id=self._claim_cursor,
            count=self._batch_size,
        )
        return reply[0], reply[1], list(reply[2])

    def _without_deleted(self, found: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
        """Drops entries whose body somebody deleted while they were pending, and takes them off the pending list."""
        deleted = [entry_id for entry_id, fields in found if not fields]
        if deleted:
            self.client.xack(self.stream, self.group, *deleted)
            _account_deleted(deleted)
        return [Entry(entry_id, fields) for entry_id, fields in found if fields]

    def _with_deliveries(self, entries: Sequence[Entry]) -> list[Entry]:
        """One question per entry: a range of ids may hold any number of others' entries between."""
        with self.client.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.xpending_range(self.stream, self.group, min=entry.id, max=entry.id, count=1)
            found: list[Any] = pipeline.execute()
        counts = [int(one[0]["times_delivered"]) if one else 1 for one in found]
        return [Entry(entry.id, entry.fields, count) for entry, count in zip(entries, counts, strict=True)]

    @contextmanager
    def _healing(self) -> Iterator[None]:
        try:
            yield
        except exceptions.ResponseError as error:
            # NOGROUP: the group or its stream is gone. UNBLOCKED: it went while we waited.
            if not str(error).startswith(("NOGROUP", "UNBLOCKED", "no such key", "ERR no such key")):
                raise
            self.ensure()
            self._own_cursor, self._claim_cursor = _BEFORE_ALL, _BEFORE_ALL


def _entries(reply: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:  # noqa: ANN401
    """The one stream's entries, whichever protocol shaped the reply."""
    if not reply:
        return []
    if isinstance(reply, dict):
        (batches,) = reply.values()
        return [entry for batch in batches for entry in batch]
    return list(reply[0][1])


def _account_deleted(ids: Sequence[bytes]) -> None:
    """The only trace of a loss. The jobs' rows are open: the sweeper hints again."""
    if ids:
        BRIDGE_DELETED_PENDING.inc(len(ids))
        _log.error("entries were deleted while pending: is something trimming the stream?", entries=len(ids))
