"""Single messages that wait in one list are taken together and handled as one batch message.

A message costs Celery about 1 ms of CPU, whatever it names. Submits one by one leave one message each, so that a
backlog of them would be worked off no faster than bare Celery does. What is gathered is recorded as unacknowledged as
the one message it has become.
"""

from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from dispatch import POOLS, messages

_log = structlog.get_logger(__name__)

#: KEYS[1] a pool's list. ARGV the mark of messages that may be gathered, the processes that share the list, the most to
#: take. Returns the messages that it took, oldest first; stops at the first one without the mark. Being flagged
#: (`#!lua`), it is refused before its first line at maxmemory: what it took could not be recorded as unacknowledged.
_TAKE: Final = """#!lua
local taken = {}
local most = math.min(tonumber(ARGV[3]), math.ceil(redis.call('LLEN', KEYS[1]) / tonumber(ARGV[2])))
while #taken < most do
  local message = redis.call('LINDEX', KEYS[1], -1)
  if not message or not string.find(message, ARGV[1], 1, true) then break end
  taken[#taken + 1] = redis.call('RPOP', KEYS[1])
end
return taken
"""


def gathered(channel: Any, message: dict[str, Any], queue: str) -> dict[str, Any]:  # noqa: ANN401 - kombu's channel
    """`message` as it was popped, or the batch of it and what waits behind it. Never raises for a fault of Redis."""
    mark = messages.gathering_mark(message)
    if not mark:
        return message
    name = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))
    try:
        with channel.conn_or_acquire() as client:
            taken = client.eval(_TAKE, 1, name, mark, _share(queue), messages.MOST_JOBS - 1)
    except (RedisError, OSError) as error:
        # If it took some, their hints are lost, as with any message of a worker that dies: the sweeper hints again.
        _log.warning("messages that wait were not gathered", error=repr(error))
        return message
    return messages.merged(message, taken) if taken else message


def _share(queue: str) -> int:
    return next(pool.concurrency for pool in POOLS.values() if pool.queue == queue)
