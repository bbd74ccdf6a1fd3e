"""The only door out of the process: hints to the worker pools, by Celery or by stream.

`try_dispatch` within a request, `ensure_dispatched` where a caller may wait, `get_dispatcher` for loops that handle
DispatchRefused themselves. Knows no model.
"""

from dispatch.announcements import Announcement
from dispatch.dispatcher import (
    Dispatcher,
    announce,
    await_broker,
    breaker_is_open,
    broker_epoch,
    ensure_dispatched,
    get_dispatcher,
    ready_depth,
    try_dispatch,
)
from dispatch.errors import DispatchError, DispatchRefused, MalformedHint, Reason, UnknownHintVersion
from dispatch.hints import Hint
from dispatch.pools import POOLS, Pool, Priority

__all__ = [
    "POOLS",
    "Announcement",
    "DispatchError",
    "DispatchRefused",
    "Dispatcher",
    "Hint",
    "MalformedHint",
    "Pool",
    "Priority",
    "Reason",
    "UnknownHintVersion",
    "announce",
    "await_broker",
    "breaker_is_open",
    "broker_epoch",
    "ensure_dispatched",
    "get_dispatcher",
    "ready_depth",
    "try_dispatch",
]
