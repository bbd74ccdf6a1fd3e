"""What we render is what Celery sends, byte for byte. Fails when kombu's internal protocol changes."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import kombu
import pytest

from dispatch import POOLS, Hint, Priority, UnknownHintVersion, messages
from project.celery import app
from tests.servers.redis_server import RedisProcess
from worker import tasks

#: Differ between any two messages: a random tag, and the sender's process.
_PER_MESSAGE = ("delivery_tag",)


def hint(pool: str = "fast", priority: Priority = Priority.NORMAL, *, gen: int = 3) -> Hint:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    return Hint(UUID(int=7), gen, "probe.fast", pool, priority, "ab" * 32, trace, 1)


def batch(size: int = 2, **options: Any) -> list[Hint]:  # noqa: ANN401 - those of `hint`
    return [replace(hint(**options), job_id=UUID(int=7 + place), batchable=True) for place in range(size)]


def sent_by_celery(*given: Hint) -> None:
    with app.connection_for_write() as connection:
        app.send_task(
            messages.TASK_NAME,
            args=messages.task_arguments(given),
            task_id=messages.task_id(given),
            queue=POOLS[given[0].pool].queue,
            priority=int(given[0].priority),
            headers=messages.message_headers(given),
            ignore_result=True,
            connection=connection,
        )


def sent_by_apply_async(*given: Hint) -> None:
    """As any Django code calls the task itself."""
    tasks.run.apply_async(
        args=messages.task_arguments(given),
        task_id=messages.task_id(given),
        queue=POOLS[given[0].pool].queue,
        priority=int(given[0].priority),
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


@pytest.mark.parametrize("size", [2, 3, messages.MOST_JOBS])
def test_a_worker_sees_a_batch_exactly_as_celery_sends_it(redis_server: RedisProcess, size: int) -> None:
    for gen in (3, 2_000_000_000):  # the first is rendered by kombu, the second is filled in
        given = batch(size, gen=gen)
        sent_by_celery(*given)
        [(key, rendered)] = messages.rendered([given])
        with redis_server.client() as client:
            real = client.lpop(key)
        assert comparable(rendered) == comparable(str(real))
        assert messages.named_by(rendered) == {one.job_id: gen for one in given}


def test_a_message_names_what_it_was_rendered_for_and_leaves_a_newer_release_alone() -> None:
    [(_, single)] = messages.rendered([[hint()]])
    assert messages.named_by(single) == {UUID(int=7): 3}
    assert json.loads(single)["headers"]["v"] == "1", "an older worker reads it"
    [(_, several)] = messages.rendered([batch()])
    assert json.loads(several)["headers"]["v"] == "2", "an older worker leaves it to a newer one"
    with pytest.raises(UnknownHintVersion):
        messages.named_jobs({"v": "3"}, ("anything",))


def test_single_messages_are_merged_to_what_their_batch_would_have_been() -> None:
    given = [replace(one, gen=gen) for gen, one in enumerate(batch(4), start=1)]
    singles = [message for _, message in messages.rendered([[one] for one in given])]
    first = json.loads(singles[0])
    assert all(messages.gathering_mark(first) in single for single in singles)
    merged = messages.merged(first, singles[1:])
    [(_, whole)] = messages.rendered([given])
    expected = comparable(whole)
    assert merged["properties"] == first["properties"]
    expected["headers"]["argsrepr"] = first["headers"]["argsrepr"]  # for people's eyes alone
    assert comparable(json.dumps(merged)) == expected


def test_a_message_that_may_share_nothing_is_gathered_by_nobody() -> None:
    mark = messages.gathering_mark(json.loads(messages.rendered([[replace(hint(), batchable=True)]])[0][1]))
    [(_, alone), (_, several)] = messages.rendered([[hint()], batch()])
    [(_, other)] = messages.rendered([[replace(hint(), kind="probe.other", batchable=True)]])
    for message in (alone, several):
        assert messages.gathering_mark(json.loads(message)) == ""
    for message in (alone, several, other):
        assert mark not in message


def test_many_batchable_hints_share_messages_and_leave_work_for_every_process() -> None:
    shares = POOLS["fast"].concurrency
    for count, largest in ((1, 1), (shares, 1), (shares + 1, 2), (1000, messages.MOST_JOBS)):
        given = batch(count)
        groups = messages.batches(given)
        assert [one for group in groups for one in group] == given
        assert max(len(group) for group in groups) == largest


def test_only_batchable_hints_of_one_kind_and_priority_share_a_message() -> None:
    many, alone = batch(100), [hint(gen=gen) for gen in range(100)]
    others = batch(100, priority=Priority.HIGH) + [replace(one, kind="probe.other") for one in batch(100)]
    mixed = [one for four in zip(many, alone, others[:100], others[100:], strict=True) for one in four]
    groups = messages.batches(mixed)
    assert sorted(groups, key=lambda group: mixed.index(group[0])) == groups, "in the order of each one's first"
    for group in groups:
        assert len(group) == 1 or all(one.batchable for one in group)
        assert len({(one.pool, one.priority, one.kind) for one in group}) == 1
    assert sum(len(group) > 1 for group in groups) == 3 * 8
    assert sum(len(group) for group in groups) == 400


def test_many_are_to_the_byte_what_apply_async_sends(redis_server: RedisProcess) -> None:
    given = [hint(pool, priority, gen=gen) for gen in range(3) for pool in POOLS for priority in Priority]
    expected: dict[str, list[str]] = {}
    for name, message in messages.rendered([[one] for one in given]):
        expected.setdefault(name, []).append(without_tag(message))
    for one in given:
        sent_by_apply_async(one)
    with redis_server.client() as client:
        sent = {name: [without_tag(raw) for raw in reversed(client.lrange(name, 0, -1))] for name in expected}
        lists = {name for name in client.scan_iter(_type="list")}
    assert sent == expected
    assert lists == set(expected)


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
