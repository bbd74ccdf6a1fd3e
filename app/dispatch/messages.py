"""Celery messages rendered by kombu itself, without a connection.

A channel of kombu's own Redis transport whose last step, the LPUSH, is collected instead of sent. Everything before it
(protocol, body encoding, delivery tag, key of the priority step) is Celery's and kombu's code, so that a worker sees
exactly what `apply_async` sends. kombu is pinned to the patch; a contract test compares the two byte by byte.

Rendering costs 50 µs a message, so that a bulk of 1,000 would hold its request for 50 ms. Messages of one pool,
priority and kind differ in five places: kombu renders one, and the others are its text with those places filled in.
"""

import base64
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

from celery import current_app
from kombu.connection import Connection
from kombu.messaging import Producer
from kombu.transport.redis import Channel, Transport
from kombu.utils.json import dumps

from dispatch.courier import Command
from dispatch.errors import MalformedHint
from dispatch.hints import VERSION, Hint
from dispatch.pools import POOLS, PRIORITY_STEPS

#: The one Celery task. It carries (job id, gen) for every kind.
TASK_NAME: Final = "holdfast.run"


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
    for key, message in rendered(hints):
        lists.setdefault(key, []).append(message)
    return [("LPUSH", key, *messages) for key, messages in lists.items()]


def rendered(hints: Sequence[Hint]) -> list[tuple[str, str]]:
    """(list, message) of each hint. Raises KeyError: unknown pool."""
    return [_template(hint).fill(hint) for hint in hints]


#: Stand in a template for what differs; of a form that nothing else in a message has.
_MARK_ID: Final = UUID("5ca1ab1e-0000-4000-8000-0123456789ab")
_MARK_GEN: Final = 1_987_654_321
_MARK_TRACE: Final = "00-5ca1ab1e-trace-01"


class _Template:
    """A message as kombu rendered it, open at the body, the ids, the generation, the trace and the delivery tag."""

    def __init__(self, hint: Hint) -> None:
        producer = _producer()
        marked = replace(hint, job_id=_MARK_ID, gen=_MARK_GEN, traceparent=_MARK_TRACE if hint.traceparent else "")
        _publish(producer, marked)
        [(self._key, text)] = producer.channel.rendered
        producer.channel.rendered = []
        message = json.loads(text)
        self._body = _opened(base64.b64decode(message["body"]).decode())
        text = text.replace(message["body"], "\0body\0").replace(message["properties"]["delivery_tag"], "\0tag\0")
        self._text = _opened(text)

    def fill(self, hint: Hint) -> tuple[str, str]:
        """(list, message)."""
        places = {"id": str(hint.job_id), "gen": hint.gen, "trace": json.dumps(hint.traceparent)[1:-1]}
        body = base64.b64encode((self._body % places).encode()).decode()
        return self._key, self._text % {**places, "body": body, "tag": uuid4()}


def _opened(text: str) -> str:
    """`text` as a format, with a place for each mark."""
    text = text.replace("%", "%%").replace(str(_MARK_ID), "%(id)s").replace(str(_MARK_GEN), "%(gen)d")
    text = text.replace(_MARK_TRACE, "%(trace)s")
    return text.replace("\0body\0", "%(body)s").replace("\0tag\0", "%(tag)s")


def _template(hint: Hint) -> _Template:
    # The process's id too: a message names its sender, and a fork copies what its parent had.
    shape = (hint.pool, hint.priority, hint.kind, bool(hint.traceparent), os.getpid())
    template = _state.templates.get(shape)
    if template is None:
        template = _state.templates[shape] = _Template(hint)
    return template


def require_pool(hint: Hint) -> None:
    """Raises MalformedHint when no pool has the hint's name."""
    if hint.pool not in POOLS:
        raise MalformedHint(f"field p: {hint.pool[:64]!r} is none of {', '.join(POOLS)}")


def task_id(hint: Hint) -> str:
    """Celery's task id: the job's id, then the generation. `worker` reads the job's id back from it."""
    return f"{hint.job_id}-{hint.gen}"


def ready_lists(queue: str) -> list[str]:
    """The Redis lists that hold the queue's ready messages, in the order in which they are popped."""
    channel = _producer().channel
    return [channel._q_for_pri(queue, step) for step in PRIORITY_STEPS]


def _publish(producer: Producer, hint: Hint) -> None:
    amqp = current_app.amqp
    message = amqp.create_task_message(
        task_id(hint),
        TASK_NAME,
        args=(str(hint.job_id), hint.gen),
        ignore_result=True,
        reply_to=current_app.thread_oid,
    )
    amqp.send_task_message(
        producer,
        TASK_NAME,
        message,
        queue=POOLS[hint.pool].queue,
        priority=int(hint.priority),
        headers=message_headers(hint),
        retry=False,
        declare=(),
    )


def message_headers(hint: Hint) -> dict[str, str]:
    """What travels beside Celery's own headers."""
    headers = {"v": VERSION, "kind": hint.kind}
    if hint.traceparent:
        headers["traceparent"] = hint.traceparent
    return headers


def _producer() -> Producer:
    if _state.producer is None:
        connection = Connection(
            "redis://", transport=RenderingTransport, transport_options={"priority_steps": list(PRIORITY_STEPS)}
        )
        _state.producer = Producer(connection.channel(), auto_declare=False)
    return _state.producer
