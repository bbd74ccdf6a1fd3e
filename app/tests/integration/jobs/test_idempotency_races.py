"""Requests that race under one Idempotency-Key: one body wins, the same body gets its answer, others conflict."""

import threading
from collections.abc import Sequence

import pytest
from django.db import transaction

from jobs.errors import IdempotencyConflict
from jobs.models import IdempotencyKey, Job
from jobs.submission import JobRequest, Submitted, submit, submit_bulk
from tests.integration.jobs.scenario import await_blocked, in_threads

RACERS = 8
ROUNDS = 5


def requests(*numbers: int) -> list[JobRequest]:
    return [JobRequest("test.echo", {"number": number}) for number in numbers]


def single(key: str, number: int) -> list[Submitted] | IdempotencyConflict:
    try:
        return [submit("test.echo", owner="ada", params={"number": number}, idempotency_key=key)]
    except IdempotencyConflict as conflict:
        return conflict


def bulk(key: str, numbers: Sequence[int]) -> list[Submitted] | IdempotencyConflict:
    try:
        return submit_bulk(requests(*numbers), owner="ada", idempotency_key=key)
    except IdempotencyConflict as conflict:
        return conflict


def only_winner(answers: Sequence[object]) -> int:
    """The position of the one request that was accepted; all others are conflicts."""
    accepted = [position for position, answer in enumerate(answers) if not isinstance(answer, IdempotencyConflict)]
    assert len(accepted) == 1, answers
    return accepted[0]


def test_of_different_bodies_one_wins_and_the_others_conflict() -> None:
    for turn in range(ROUNDS):
        key, first = f"key-{turn}", turn * RACERS
        answers = in_threads(*[lambda key=key, n=first + n: single(key, n) for n in range(RACERS)])
        winner = first + only_winner(answers)
        [job] = Job.objects.filter(params__number__gte=first)
        assert job.params["number"] == winner
        assert IdempotencyKey.objects.get(key=key).owner == "ada"
        again = single(key, winner)
        assert not isinstance(again, IdempotencyConflict)
        assert (again[0].job.id, again[0].replayed) == (job.id, True)
        assert isinstance(single(key, winner + RACERS), IdempotencyConflict)
        Job.objects.all().delete()


def test_of_bulks_with_different_bodies_one_is_accepted_whole_and_the_others_leave_no_job() -> None:
    bodies = [[0, 1, 2, 10 + racer] for racer in range(RACERS)]  # they overlap: no identity may leak out of a loser
    answers = in_threads(*[lambda body=body: bulk("key", body) for body in bodies])
    winner = bodies[only_winner(answers)]
    assert sorted(Job.objects.values_list("params__number", flat=True)) == winner
    assert IdempotencyKey.objects.count() == 1


def test_bulks_with_the_same_body_share_one_answer() -> None:
    numbers = [5, 3, 5, 1]
    answers = in_threads(*[lambda: bulk("key", numbers)] * RACERS)
    accepted = [answer for answer in answers if isinstance(answer, list)]
    assert len(accepted) == RACERS
    assert len({tuple(item.job.id for item in answer) for answer in accepted}) == 1
    assert sorted(answer[0].replayed for answer in accepted) == [False] + [True] * (RACERS - 1)
    assert Job.objects.count() == 3


def test_a_bulk_and_a_single_job_cannot_share_a_key() -> None:
    answers = in_threads(*[lambda: bulk("key", [1, 2]), lambda: single("key", 1)] * 3)
    accepted = [answer for answer in answers if isinstance(answer, list)]
    assert len(accepted) == 3
    assert {len(answer) for answer in accepted} in ({1}, {2})
    assert Job.objects.count() == len(accepted[0])


@pytest.mark.parametrize("is_committed", [True, False])
def test_who_comes_second_waits_for_the_first_transaction(is_committed: bool) -> None:
    reserved = threading.Event()

    def first() -> None:
        with transaction.atomic():
            assert isinstance(single("key", 1), list)
            reserved.set()
            await_blocked()
            transaction.set_rollback(not is_committed)

    def second() -> object:
        assert reserved.wait(60)
        return single("key", 2)

    _, of_second = in_threads(first, second)
    assert isinstance(of_second, IdempotencyConflict) == is_committed
    assert [job.params["number"] for job in Job.objects.all()] == ([1] if is_committed else [2])
