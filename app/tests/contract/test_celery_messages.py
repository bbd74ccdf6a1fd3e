"""What we render is what Celery sends, byte for byte. Fails when kombu's internal protocol changes."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import kombu
import pytest

from dispatch import POOLS, Hint, Priority, messages
from project.celery import app
from tests.servers.redis_server import RedisProcess
from worker import tasks

#: Differ between any two messages: a random tag, and the sender's process.
_PER_MESSAGE = ("delivery_tag",)


def hint(pool: str = "fast", priority: Priority = Priority.NORMAL, *, gen: int = 3) -> Hint:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    return Hint(UUID(int=7), gen, "probe.fast", pool, priority, "ab" * 32, trace, 1)


def sent_by_celery(given: Hint) -> None:
    with app.connection_for_write() as connection:
        app.send_task(
            messages.TASK_NAME,
            args=(str(given.job_id), given.gen),
            task_id=messages.task_id(given),
            queue=POOLS[given.pool].queue,
            priority=int(given.priority),
            headers=messages.message_headers(given),
            ignore_result=True,
            connection=connection,
        )


def sent_by_apply_async(given: Hint) -> None:
    """As any Django code calls the task itself."""
    tasks.run.apply_async(
        args=(str(given.job_id), given.gen),
        task_id=messages.task_id(given),
        queue=POOLS[given.pool].queue,
        priority=int(given.priority),
        headers=messages.message_headers(given),
        ignore_result=True,
    )


def without_tag(message: str) -> str:
    """The message as it stands in Redis, but for its random tag."""
    return message.replace(json.loads(message)["properties"]["delivery_tag"], "<tag>")


def comparable(message: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(message)
    for name in _PER_MESSAGE:
        assert loaded["properties"].pop(name)
    return loaded


def test_kombu_is_the_release_this_was_read_in() -> None:
    assert kombu.VERSION[:3] == (5, 7, 0)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("priority", Priority)
def test_a_worker_sees_exactly_what_celery_sends(redis_server: RedisProcess, pool: str, priority: Priority) -> None:
    given = hint(pool, priority)
    sent_by_celery(given)
    [(_, key, rendered)] = messages.render([given])
    with redis_server.client() as client:
        [real] = client.lrange(str(key), 0, -1)
    assert comparable(str(rendered)) == comparable(real)
    assert list(json.loads(str(rendered))) == list(json.loads(real))


def test_the_second_of_a_shape_is_what_celery_sends_too(redis_server: RedisProcess) -> None:
    """Only the first one is rendered by kombu; another job, generation and trace stand in the rest."""
    messages.render([hint()])
    given = Hint(UUID(int=2**127 + 5), 12, "probe.fast", "fast", Priority.NORMAL, "cd" * 32, 'odd "%s" trace', 1)
    for each in (given, replace(given, traceparent="")):
        sent_by_celery(each)
        [(_, key, rendered)] = messages.render([each])
        with redis_server.client() as client:
            real = client.lpop(str(key))
        assert comparable(str(rendered)) == comparable(str(real))


def test_a_batch_is_to_the_byte_what_apply_async_sends(redis_server: RedisProcess) -> None:
    given = [hint(pool, priority, gen=gen) for gen in range(3) for pool in POOLS for priority in Priority]
    batch: dict[str, list[str]] = {}
    for name, message in messages.rendered(given):
        batch.setdefault(name, []).append(without_tag(message))
    for one in given:
        sent_by_apply_async(one)
    with redis_server.client() as client:
        sent = {name: [without_tag(raw) for raw in reversed(client.lrange(name, 0, -1))] for name in batch}
        lists = {name for name in client.scan_iter(_type="list")}
    assert sent == batch
    assert lists == set(batch)


def test_ready_lists_are_those_that_celery_fills(redis_server: RedisProcess) -> None:
    for priority in Priority:
        sent_by_celery(hint(priority=priority))
    with redis_server.client() as client:
        assert [client.llen(name) for name in messages.ready_lists("fast")] == [1, 1, 1]


def test_hints_of_one_list_keep_their_order() -> None:
    [(command, key, *rendered)] = messages.render([hint(gen=gen) for gen in range(3)])
    assert (command, key) == ("LPUSH", "fast\x06\x163")
    ids = [json.loads(str(message))["headers"]["id"] for message in rendered]
    assert ids == [f"{UUID(int=7)}-{gen}" for gen in range(3)]
    tags = {json.loads(str(message))["properties"]["delivery_tag"] for message in rendered}
    assert len(tags) == 3
