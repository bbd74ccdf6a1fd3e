"""Eighteen ways in which consumers of Redis streams lose, repeat or hide work. Each test says what is right instead.

A consumer that is recorded to fall into a trap fails its test, and must. See the package for how to add one.
"""

import time
from contextlib import suppress
from datetime import timedelta
from threading import Thread

import pytest
import redis
from django.db import connections
from django.utils import timezone

from tests.contract.stream_consumers.consumer import Consumer, NotArranged
from tests.servers.process import ServerProcess
from tests.servers.waiting import DidNotHappen, wait_until

#: A delivery count that only an entry reaches which kills whoever reads it.
DEADLY_DELIVERIES = 50

#: Seconds in which a send is answered whatever Redis does; who waits for the answer itself waits for ever.
SEND_SECONDS = 10.0

ENTRY_BYTES = 200

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]


def items(count: int, prefix: str = "item") -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def test_trap_01_nothing_unread_or_pending_is_trimmed(consumer: Consumer) -> None:
    consumer.have_run_before()
    taken, waiting = items(5, "taken"), items(300, "waiting")
    process = consumer.start()
    with consumer.in_work(taken):
        process.kill()
    consumer.send(waiting)
    consumer.start()
    consumer.await_applied([*taken, *waiting])


def test_trap_02_the_stream_runs_empty_so_that_nobody_trims_it(consumer: Consumer) -> None:
    consumer.have_run_before()
    left = consumer.left_by_a_dead_consumer(items(3, "left"), idle_ms=0)
    consumer.send(items(30))
    consumer.claim_idle_ms = 60_000
    process = consumer.start()
    consumer.await_applied(items(30))
    await_entries(consumer, left)
    process.stop()
    consumer.make_stale(left)
    consumer.start()
    consumer.await_applied(items(3, "left"))
    await_entries(consumer, [])


def await_entries(consumer: Consumer, ids: list[str]) -> None:
    def remaining() -> list[str]:
        return [entry_id for entry_id, _ in consumer.operator.xrange(consumer.stream)]

    with suppress(DidNotHappen):
        wait_until(lambda: remaining() == ids, "", seconds=consumer.patience)
    assert remaining() == ids


def test_trap_03_an_entry_deleted_while_pending_is_accounted_for(consumer: Consumer) -> None:
    consumer.have_run_before()
    ids = consumer.left_by_a_dead_consumer(items(5))
    consumer.operator.xdel(consumer.stream, *ids[:2])
    consumer.start()
    wait_until(lambda: len(consumer.applied()) == 3, "what was left was not claimed", seconds=consumer.patience)
    consumer.await_quiet()
    assert consumer.lost_and_told(ids[:2]) == 2


def test_trap_04_autoclaim_cursor_is_kept(consumer: Consumer) -> None:
    consumer.have_run_before()
    # One call looks at ten times COUNT entries: the stale ones lie behind more than that of fresh ones.
    consumer.left_by_a_dead_consumer(items(10 * consumer.batch_size + 20, "fresh"), idle_ms=0)
    consumer.left_by_a_dead_consumer(items(5, "stale"))
    consumer.claim_idle_ms = 60_000
    consumer.start()
    consumer.await_applied(items(5, "stale"))


def test_trap_05_a_claimer_that_dies_locks_nobody_out(consumer: Consumer) -> None:
    consumer.have_run_before()
    consumer.left_by_a_dead_consumer(items(10))
    for _ in range(2):
        kill_when_it_claims(consumer)
    consumer.start("second")
    consumer.await_applied(items(10))


def kill_when_it_claims(consumer: Consumer) -> None:
    with consumer.node.operator().monitor() as monitor:
        process = consumer.start()
        give_up = time.monotonic() + consumer.patience
        while time.monotonic() < give_up:
            words = monitor.next_command()["command"].split()
            if words[0].upper() in ("XAUTOCLAIM", "XCLAIM"):
                process.kill()
                return
    raise AssertionError("it claims nothing")


def test_trap_06_an_entry_that_kills_its_readers_is_set_aside(consumer: Consumer) -> None:
    consumer.have_run_before()
    [deadly] = consumer.left_by_a_dead_consumer(["deadly"], deliveries=DEADLY_DELIVERIES)
    consumer.left_by_a_dead_consumer(["unlucky"], deliveries=3)
    consumer.start()
    consumer.await_applied(["unlucky"])
    consumer.await_quiet()
    assert "deadly" not in consumer.begun()
    assert deadly in consumer.set_aside()


def test_trap_07_long_work_is_not_started_twice(consumer: Consumer) -> None:
    consumer.have_run_before()
    consumer.start("first")
    consumer.start("second")
    with consumer.in_work(items(5)):
        time.sleep(4 * consumer.claim_idle_ms / 1000)  # what makes an idle entry claimable
    consumer.await_applied(items(5))
    consumer.await_quiet()
    assert consumer.begun() == dict.fromkeys(items(5), 1)


def test_trap_08_the_work_of_a_stale_owner_counts_once(consumer: Consumer) -> None:
    consumer.have_run_before()
    stale = consumer.start("first")
    with consumer.in_work(items(3)):
        stale.freeze()
    consumer.start("second")
    give_time_to_take_over(consumer, items(3))
    stale.thaw()
    consumer.await_applied(items(3))
    consumer.await_quiet()
    assert consumer.applied() == dict.fromkeys(items(3), 1)


def give_time_to_take_over(consumer: Consumer, expected: list[str]) -> None:
    """Returns when another consumer did the work, or had the time to."""
    with suppress(DidNotHappen):
        wait_until(lambda: set(consumer.applied()) >= set(expected), "nobody took over", seconds=4)


def test_trap_09_restarts_drop_nothing_and_leave_no_consumers_behind(consumer: Consumer) -> None:
    consumer.have_run_before()
    sent: list[str] = []
    for end in (ServerProcess.kill, ServerProcess.stop):
        process = consumer.start()
        consumer.await_applied(sent)
        sent += (now := items(3, end.__name__))
        with consumer.in_work(now):
            end(process)
    consumer.start()
    consumer.await_applied(sent)
    assert [one["name"] for one in consumer.operator.xinfo_consumers(consumer.stream, consumer.group)] == ["first"]


def test_trap_10_a_vanished_group_is_made_again_at_zero(consumer: Consumer) -> None:
    process = consumer.start()
    consumer.arranged(lambda: consumer.operator.exists(consumer.stream), "the consumer made no group")
    process.freeze()  # what is sent now is there before the group is
    consumer.node.flush()
    consumer.send(items(3, "flushed"))
    process.thaw()
    consumer.await_applied(items(3, "flushed"))
    consumer.operator.xgroup_destroy(consumer.stream, consumer.group)
    consumer.send(items(3, "destroyed"))
    consumer.await_applied(items(3, "destroyed"))


def test_trap_11_a_backlog_is_right_or_said_to_be_unknown(consumer: Consumer) -> None:
    consumer.have_run_before()
    consumer.send(items(20))
    [(_, read)] = consumer.operator.xreadgroup(consumer.group, "dead", {consumer.stream: ">"}, count=5)
    read_ids = [entry_id for entry_id, _ in read]
    consumer.operator.xack(consumer.stream, consumer.group, *read_ids)
    consumer.operator.xdel(consumer.stream, *read_ids)
    unread = [entry_id for entry_id, _ in consumer.operator.xrange(consumer.stream)]
    assert_backlog(consumer, 15)
    consumer.operator.xdel(consumer.stream, unread[7])
    assert_backlog(consumer, 14)
    consumer.operator.xtrim(consumer.stream, maxlen=4, approximate=False)
    assert_backlog(consumer, 4)


def assert_backlog(consumer: Consumer, unread: int) -> None:
    shown = consumer.backlog()
    assert unread in shown
    assert set(shown) <= {unread, None}


def test_trap_12_what_a_failover_lost_is_sent_again(consumer: Consumer) -> None:
    process = consumer.start()
    consumer.send(["before"])
    consumer.await_applied(["before"], with_sweeper=True)
    process.freeze()
    consumer.send(items(5))
    consumer.node.flush()
    process.thaw()
    consumer.await_applied(items(5), with_sweeper=True)


def test_trap_13_entries_that_come_back_from_the_dead_apply_nothing(consumer: Consumer) -> None:
    consumer.have_run_before()
    consumer.send(items(5))
    before = consumer.operator.execute_command("DUMP", consumer.stream, NEVER_DECODE=True)
    consumer.start()
    consumer.await_applied(items(5))
    consumer.await_quiet()
    # A replica that had not seen the acknowledgements is the primary now.
    consumer.operator.restore(consumer.stream, 0, before, replace=True)
    consumer.await_quiet()
    assert consumer.applied() == dict.fromkeys(items(5), 1)


def test_trap_14_a_send_that_is_repeated_applies_once(consumer: Consumer) -> None:
    consumer.have_run_before()
    consumer.send(["once"])
    consumer.send_again("once")
    consumer.start()
    consumer.await_applied(["once"])
    consumer.await_quiet()
    consumer.send_again("once")
    consumer.await_quiet()
    assert consumer.applied() == {"once": 1}


def test_trap_15_late_entries_and_jumping_clocks_skip_nothing(consumer: Consumer) -> None:
    """No order is promised, so none may be needed: a reclaimed entry comes after those behind it."""
    consumer.have_run_before()
    consumer.left_by_a_dead_consumer(["late"])
    in_an_hour = f"{int((time.time() + 3600) * 1000)}-0"
    consumer.operator.execute_command("XSETID", consumer.stream, in_an_hour)  # the clock of the last primary was fast
    consumer.start()
    consumer.send(items(3))
    consumer.await_applied(["late", *items(3)])


def test_trap_16_delayed_work_waits_outside_the_stream(consumer: Consumer) -> None:
    consumer.have_run_before()
    consumer.start()
    due = timezone.now() + timedelta(seconds=10)
    consumer.send_at("later", due)
    consumer.send(["now"])
    consumer.await_applied(["now"])
    assert timezone.now() < due, "the neighbour waited for the delayed one"
    assert "later" not in consumer.applied()
    consumer.await_quiet()
    assert consumer.operator.xlen(consumer.stream) == 0
    consumer.await_applied(["later"], with_sweeper=True)
    assert timezone.now() >= due


def test_trap_17_an_entry_carries_no_payload(consumer: Consumer) -> None:
    consumer.have_run_before()
    payload = "name-and-address-" + "x" * 150
    consumer.send([payload])
    [(_, fields)] = consumer.operator.xrange(consumer.stream)
    assert payload not in "".join(fields.values())
    assert sum(len(name) + len(value) for name, value in fields.items()) < ENTRY_BYTES
    consumer.start()
    consumer.await_applied([payload])


def test_trap_18_a_redis_that_does_not_answer_stops_no_request(consumer: Consumer) -> None:
    consumer.have_run_before()
    consumer.start()
    consumer.send(["before"])
    consumer.await_applied(["before"])
    request = Thread(target=send_or_fail, args=(consumer, "during"), daemon=True)
    consumer.node.freeze()
    try:
        request.start()
        request.join(SEND_SECONDS)
        answered = not request.is_alive()
    finally:
        consumer.node.thaw()
        request.join(120)
    if request.is_alive():
        raise NotArranged("the request did not end after Redis was back")
    assert answered, f"the request waited for Redis longer than {SEND_SECONDS} s"
    consumer.await_applied(["during"], with_sweeper=True)


def send_or_fail(consumer: Consumer, item: str) -> None:
    with suppress(redis.RedisError):  # then it is not applied either
        consumer.send_in_a_request(item)
    connections.close_all()
