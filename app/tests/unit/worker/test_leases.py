"""The lease keeper: what it renews, what it stops, and when it makes the worker pause."""

import time
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from dispatch import POOLS
from dispatch.messages import TASK_NAME
from worker import leases


def request(*jobs: UUID, seconds_ago: float = 0, v: str = "") -> SimpleNamespace:
    args = ([[str(job), 1] for job in jobs],) if len(jobs) > 1 else (str(jobs[0]), 1)
    headers = {"v": v or str(len(args) % 2 + 1)}
    return SimpleNamespace(type=TASK_NAME, args=args, request_dict=headers, time_start=time.time() - seconds_ago)


class Scene:
    """A keeper over requests and leases that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pool: str = "fast") -> None:
        self.left: list[bool] = []
        self.running: dict[UUID, Any] = {}
        self.earlier: list[Any] = []  #: attempts of jobs that run here once more
        self.held: set[UUID] = set()
        self.fails = False
        self.asked: list[set[UUID]] = []
        self.stopped: list[UUID] = []
        self.changes: list[bool] = []
        monkeypatch.setattr(leases, "CONFIRM_SECONDS", 0)
        monkeypatch.setattr(leases.activity, "_snapshot", lambda: (*self.running.values(), *self.earlier))
        monkeypatch.setattr(leases.activity, "is_running", lambda request: request in self.running.values())
        monkeypatch.setattr(leases.heartbeat, "renew", self._renew)
        self.keeper = leases.LeaseKeeper(
            instance="here",
            pool=POOLS[pool],
            on_lost=lambda jobs, _: self.stopped.extend(jobs),
            on_change=self.changes.append,
            on_leaked=lambda: self.left.append(True),
        )

    def run(self, *, seconds_ago: float = 0) -> UUID:
        job = uuid4()
        self.running[job] = request(job, seconds_ago=seconds_ago)
        self.held.add(job)
        return job

    def run_batch(self, size: int) -> list[UUID]:
        jobs = [uuid4() for _ in range(size)]
        self.running |= dict.fromkeys(jobs, request(*jobs))
        self.held.update(jobs)
        return jobs

    def _renew(self, instance: str, job_ids: Collection[UUID]) -> set[UUID]:
        assert instance == "here"
        self.asked.append(set(job_ids))
        if self.fails:
            raise ConnectionError("Postgres is away")
        return self.held & set(job_ids)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_renews_everything_that_runs_at_once(scene: Scene) -> None:
    jobs = {scene.run(), scene.run()}
    scene.keeper.beat()
    assert scene.asked == [jobs]
    assert scene.stopped == []


def test_asks_nothing_when_idle(scene: Scene) -> None:
    scene.keeper.beat()
    assert scene.asked == []


def test_stops_an_attempt_whose_lease_is_gone_once(scene: Scene) -> None:
    job, other = scene.run(), scene.run()
    scene.keeper.beat()
    scene.held.discard(job)
    scene.keeper.beat()
    scene.keeper.beat()
    assert scene.stopped == [job]
    assert other in scene.held


def test_a_batch_is_renewed_as_long_as_one_of_its_jobs_runs_and_stopped_when_none_does(scene: Scene) -> None:
    jobs = scene.run_batch(3)
    scene.keeper.beat()
    assert scene.asked == [set(jobs)]
    for ended in jobs[:2]:
        scene.held.discard(ended)
        scene.keeper.beat()
    assert scene.stopped == []
    scene.held.discard(jobs[2])
    scene.keeper.beat()
    scene.keeper.beat()
    assert scene.stopped == [jobs[2]]


def test_a_message_of_a_newer_release_that_is_in_hand_names_no_job(scene: Scene) -> None:
    scene.running[uuid4()] = request(uuid4(), v="3")
    job = scene.run()
    scene.keeper.beat()
    assert scene.asked == [{job}]


def test_does_not_stop_what_has_not_claimed_yet(scene: Scene) -> None:
    job = scene.run()
    scene.held.discard(job)
    scene.keeper.beat()
    scene.keeper.beat()
    assert scene.stopped == []


def test_does_not_stop_what_has_just_finished(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    job = scene.run()
    scene.keeper.beat()
    scene.held.discard(job)
    monkeypatch.setattr(leases.activity, "is_running", lambda _: False)
    scene.keeper.beat()
    assert scene.stopped == []


def test_a_new_attempt_of_the_same_job_is_not_the_lost_one(scene: Scene) -> None:
    job = scene.run()
    scene.keeper.beat()
    scene.running[job] = request(job)
    scene.held.discard(job)
    scene.keeper.beat()
    assert scene.stopped == []


def test_pauses_while_it_cannot_renew_and_resumes_after(scene: Scene) -> None:
    scene.run()
    scene.keeper.beat()
    scene.fails = True
    scene.keeper.beat()
    scene.keeper.beat()
    scene.fails = False
    scene.keeper.beat()
    assert scene.changes == [False, True]
    assert scene.stopped == []


def test_a_paused_worker_with_nothing_running_resumes_only_when_postgres_answers(scene: Scene) -> None:
    job = scene.run()
    scene.fails = True
    scene.keeper.beat()
    del scene.running[job]
    scene.keeper.beat()
    assert scene.changes == [False], "nobody has asked Postgres, or it did not answer"
    scene.fails = False
    scene.keeper.beat()
    scene.keeper.beat()
    assert scene.changes == [False, True]
    assert scene.asked[1:] == [set(), set()], "and idle again, it asks no more"


def test_a_thread_past_its_hard_limit_is_not_renewed_and_the_second_one_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, "io")
    hangs, works = POOLS["io"].hard_limit_seconds + 1, scene.run()
    scene.run(seconds_ago=hangs)
    scene.keeper.beat()
    assert scene.asked == [{works}]
    assert scene.left == []
    scene.run(seconds_ago=hangs)
    scene.keeper.beat()
    scene.keeper.beat()
    assert scene.left == [True]
    assert scene.asked[1:] == [{works}, {works}]


def test_attempts_of_one_job_that_hang_in_turn_hold_a_slot_each(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, "io")
    hangs, job = POOLS["io"].hard_limit_seconds + 1, scene.run()
    scene.earlier.append(request(job, seconds_ago=hangs))
    scene.keeper.beat()
    assert scene.asked == [{job}], "the attempt that works keeps its lease"
    assert scene.left == []
    scene.running[job] = request(job, seconds_ago=hangs)
    scene.keeper.beat()
    assert scene.left == [True]
    assert scene.asked == [{job}]


def test_a_child_past_its_hard_limit_is_left_to_celery(scene: Scene) -> None:
    job = scene.run(seconds_ago=10_000)
    scene.keeper.beat()
    assert scene.asked == [{job}]
