"""Celery messages rendered by kombu itself, without a connection.

A channel of kombu's own Redis transport whose last step, the LPUSH, is collected instead of sent. Everything before it
(protocol, body encoding, delivery tag, key of the priority step) is Celery's and kombu's code, so that a worker sees
exactly what `apply_async` sends. kombu is pinned to the patch; a contract test compares the two byte by byte.

Rendering costs 50 µs a message, so that a bulk of 1,000 would hold its request for 50 ms. Messages of one pool,
priority and kind differ in five places: kombu renders one, and the others are its text with those places filled in.

A message names one job (version 1: arguments job id, gen) or a batch of them (version 2: one list of [job id, gen]).
A message costs Celery about 1 ms of CPU at the worker, whatever it names. Jobs share one where many are at hand, their
kind allows it and they were never tried: a job that kills its worker costs those beside it one attempt, and once only.
"""

import base64
import json
import math
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

from celery import current_app
from kombu.connection import Connection
from kombu.messaging import Producer
from kombu.transport.redis import Channel, Transport
from kombu.utils.json import dumps

from dispatch.courier import Command
from dispatch.errors import MalformedHint, UnknownHintVersion
from dispatch.hints import VERSION, Hint
from dispatch.pools import POOLS, PRIORITY_STEPS, Priority

#: The one Celery task, for every kind.
TASK_NAME: Final = "holdfast.run"

#: Version of a message that names a batch.
BATCH_VERSION: Final = "2"
#: Jobs that one message may name.
MOST_JOBS: Final = 16


class _Offline:
    """Stands where kombu keeps its client: answers the greeting, and has nothing else to answer."""

    def ping(self) -> bool:
        return True


class RenderingChannel(Channel):
    """kombu's Redis channel up to the LPUSH. Not for two threads at once."""

    client: ClassVar[_Offline] = _Offline()

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.rendered: list[tuple[str, str]] = []

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:  # noqa: ANN401
        priority = self._get_message_priority(message, reverse=False)  # type: ignore[no-untyped-call]
        key = self._q_for_pri(queue, priority)  # type: ignore[no-untyped-call]
        self.rendered.append((key, dumps(message)))

    def close(self) -> None:
        """Nothing was opened."""


class RenderingTransport(Transport):
    """kombu's Redis transport with channels that render."""

    Channel = RenderingChannel


class _ThreadState(threading.local):
    """One producer per thread: kombu's channels are not for two. Templates name the thread and the process."""

    def __init__(self) -> None:
        self.producer: Producer | None = None
        self.templates: dict[tuple[object, ...], _Template] = {}


_state: Final = _ThreadState()


def render(hints: Sequence[Hint]) -> list[Command]:
    """LPUSH commands for `hints`, one per list; hints of one list keep their order. Raises KeyError: unknown pool."""
    lists: dict[str, list[str]] = {}
    for key, message in rendered(batches(hints)):
        lists.setdefault(key, []).append(message)
    return [("LPUSH", key, *messages) for key, messages in lists.items()]


def rendered(groups: Sequence[Sequence[Hint]]) -> list[tuple[str, str]]:
    """(list, message) of each group of hints as `batches` makes them. Raises KeyError: unknown pool."""
    return [_template(group).fill(group) for group in groups]


def batches(hints: Sequence[Hint]) -> list[list[Hint]]:
    """Which hints share a message, in the order of each one's first.

    At most MOST_JOBS of a kind and priority, and never so many that a process of the pool would find nothing to do.
    """
    sizes = {
        shape: min(MOST_JOBS, math.ceil(count / POOLS[shape[0]].concurrency))
        for shape, count in Counter(_shared(hint) for hint in hints if hint.batchable).items()
    }
    groups: list[list[Hint]] = []
    open_groups: dict[tuple[object, ...], list[Hint]] = {}
    for hint in hints:
        group = open_groups.get(_shared(hint)) if hint.batchable else None
        if group is None or len(group) >= sizes[_shared(hint)]:
            groups.append(group := [])
            if hint.batchable:
                open_groups[_shared(hint)] = group
        group.append(hint)
    return groups


def _shared(hint: Hint) -> tuple[str, Priority, str]:
    return hint.pool, hint.priority, hint.kind


def named_jobs(headers: Mapping[str, Any], arguments: Sequence[Any]) -> dict[UUID, int]:
    """Job id -> gen that a message names, in its order. Raises UnknownHintVersion for one of a newer release."""
    version = str(headers.get("v", VERSION))
    if version == BATCH_VERSION:
        return {UUID(job_id): int(gen) for job_id, gen in arguments[0]}
    if version != VERSION:
        raise UnknownHintVersion(version)
    return {UUID(arguments[0]): int(arguments[1])}


def named_by(message: str | bytes) -> dict[UUID, int]:
    """Job id -> gen that a message as it stands in its list names. Raises UnknownHintVersion."""
    loaded = json.loads(message)
    [arguments, *_] = json.loads(base64.b64decode(loaded["body"]))
    return named_jobs(loaded["headers"], arguments)


def gathering_mark(message: Mapping[str, Any]) -> str:
    """What stands in the text of every single message that may be merged with this one; empty for none."""
    headers = message.get("headers") or {}
    if headers.get("v") != VERSION or not headers.get("batchable"):
        return ""
    return json.dumps({"v": VERSION, "kind": headers["kind"], "batchable": True})[1:-1]


def merged(message: Mapping[str, Any], others: Sequence[str | bytes]) -> dict[str, Any]:
    """`message` as the batch of its job and those of `others`, single messages as they stood in its list."""
    [arguments, *rest] = json.loads(base64.b64decode(message["body"]))
    jobs = named_jobs(message["headers"], arguments)
    for other in others:
        jobs |= named_by(other)
    pairs = [[str(job_id), gen] for job_id, gen in jobs.items()]
    headers = {name: value for name, value in message["headers"].items() if name not in ("batchable", "traceparent")}
    body = base64.b64encode(json.dumps([[pairs], *rest]).encode()).decode()
    return {**message, "body": body, "headers": headers | {"v": BATCH_VERSION}}


#: Stand in a template for what differs; of a form that nothing else in a message has.
_MARK_ID: Final = UUID("5ca1ab1e-0000-4000-8000-0123456789ab")
_MARK_GEN: Final = 1_987_654_321
_MARK_TRACE: Final = "00-5ca1ab1e-trace-01"


class _Template:
    """A message as kombu rendered it, open at the body, the ids, the generation, the trace and the delivery tag."""

    def __init__(self, group: Sequence[Hint]) -> None:
        producer = _producer()
        first = group[0]
        marked = replace(first, job_id=_MARK_ID, gen=_MARK_GEN, traceparent=_MARK_TRACE if first.traceparent else "")
        _publish(producer, [marked] * min(len(group), 2))
        [(self._key, text)] = producer.channel.rendered
        producer.channel.rendered = []
        message = json.loads(text)
        body = base64.b64decode(message["body"]).decode()
        self._body = _opened(body.replace(json.dumps(_pairs([marked, marked])), "\0pairs\0"))
        text = text.replace(message["body"], "\0body\0").replace(message["properties"]["delivery_tag"], "\0tag\0")
        self._text = _opened(text.replace(repr(_pairs([marked, marked])), "\0shown\0"))

    def fill(self, group: Sequence[Hint]) -> tuple[str, str]:
        """(list, message)."""
        hint = group[0]
        places = {"id": str(hint.job_id), "gen": hint.gen, "trace": json.dumps(hint.traceparent)[1:-1]}
        if len(group) > 1:
            pairs = _pairs(group)
            places |= {"pairs": json.dumps(pairs), "shown": repr(pairs)}
        body = base64.b64encode((self._body % places).encode()).decode()
        return self._key, self._text % {**places, "body": body, "tag": uuid4()}


def _opened(text: str) -> str:
    """`text` as a format, with a place for each mark."""
    text = text.replace("%", "%%").replace(str(_MARK_ID), "%(id)s").replace(str(_MARK_GEN), "%(gen)d")
    text = text.replace(_MARK_TRACE, "%(trace)s")
    for place in ("body", "tag", "pairs", "shown"):
        text = text.replace(f"\0{place}\0", f"%({place})s")
    return text


def _template(group: Sequence[Hint]) -> _Template:
    # The process's id too: a message names its sender, and a fork copies what its parent had.
    is_batch = len(group) > 1
    shape = (*_shared(group[0]), is_batch, group[0].batchable, bool(group[0].traceparent) and not is_batch, os.getpid())
    template = _state.templates.get(shape)
    if template is None:
        template = _state.templates[shape] = _Template(group)
    return template


def require_pool(hint: Hint) -> None:
    """Raises MalformedHint when no pool has the hint's name."""
    if hint.pool not in POOLS:
        raise MalformedHint(f"field p: {hint.pool[:64]!r} is none of {', '.join(POOLS)}")


def task_id(group: Sequence[Hint]) -> str:
    """Celery's task id: the first job's id, then its generation."""
    return f"{group[0].job_id}-{group[0].gen}"


def task_arguments(group: Sequence[Hint]) -> tuple[Any, ...]:
    """What the task is called with; see the module."""
    return (_pairs(group),) if len(group) > 1 else (str(group[0].job_id), group[0].gen)


def _pairs(group: Sequence[Hint]) -> list[list[Any]]:
    return [[str(hint.job_id), hint.gen] for hint in group]


def ready_lists(queue: str) -> list[str]:
    """The Redis lists that hold the queue's ready messages, in the order in which they are popped."""
    channel = _producer().channel
    return [channel._q_for_pri(queue, step) for step in PRIORITY_STEPS]


def _publish(producer: Producer, group: Sequence[Hint]) -> None:
    amqp = current_app.amqp
    message = amqp.create_task_message(
        task_id(group),
        TASK_NAME,
        args=task_arguments(group),
        ignore_result=True,
        reply_to=current_app.thread_oid,
    )
    amqp.send_task_message(
        producer,
        TASK_NAME,
        message,
        queue=POOLS[group[0].pool].queue,
        priority=int(group[0].priority),
        headers=message_headers(group),
        retry=False,
        declare=(),
    )


def message_headers(group: Sequence[Hint]) -> dict[str, Any]:
    """What travels beside Celery's own headers. The jobs of a batch have traces of their own, in their rows."""
    if len(group) > 1:
        return {"v": BATCH_VERSION, "kind": group[0].kind}
    headers: dict[str, Any] = {"v": VERSION, "kind": group[0].kind}
    if group[0].batchable:
        headers["batchable"] = True
    if group[0].traceparent:
        headers["traceparent"] = group[0].traceparent
    return headers


def _producer() -> Producer:
    if _state.producer is None:
        connection = Connection(
            "redis://", transport=RenderingTransport, transport_options={"priority_steps": list(PRIORITY_STEPS)}
        )
        _state.producer = Producer(connection.channel(), auto_declare=False)
    return _state.producer
