"""What the code of the job's life writes down, and that the checker finds nothing wrong with it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

import history
from dispatch import POOLS
from jobs import hinting, prepared, replays, schedules
from jobs.cancellation import cancel
from jobs.claim import Claimed, claim, hand_back, try_claim_all
from jobs.context import Done
from jobs.errors import NotCancellable, Permanent, Retryable, StaleLease
from jobs.execution import run_job, run_jobs
from jobs.finish import fail, finish, finish_all
from jobs.models import Job, ProbeCount, Schedule
from jobs.requests import JobRequest
from jobs.states import MissedTicks
from jobs.submission import submit, submit_bulk
from jobs.sweeper import Sweeper
from tests.integration.jobs.scenario import claimed, move_back, submit_echo
from tests.integration.recorded import events, verdict

pytestmark = pytest.mark.usefixtures("pools")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where this test's history lies."""
    folder = tmp_path / "history"
    history.start(folder)
    yield folder
    history.stop()


def told(folder: Path, *ops: str) -> list[tuple[object, ...]]:
    """Type, token and reason or state of each event."""
    return [
        (event["type"], event.get("token"), event.get("reason") or event.get("state")) for event in events(folder, *ops)
    ]


class TestWhatIsWritten:
    def test_an_accept_is_told_when_it_is_committed(self, folder: Path) -> None:
        with transaction.atomic():
            job = submit_echo(1)
            assert [event["type"] for event in events(folder, "accept")] == ["invoke"]
        assert [(event["type"], event["job"]) for event in events(folder, "accept")] == [
            ("invoke", str(job.id)),
            ("ok", str(job.id)),
        ]
        (hint,) = events(folder, "dispatch")
        assert (hint["type"], hint["gen"], hint["via"]) == ("ok", 1, "commit")

    def test_a_rollback_leaves_an_invoke_alone(self, folder: Path) -> None:
        with transaction.atomic():
            submit_echo(1)
            transaction.set_rollback(True)
        assert [event["type"] for event in events(folder)] == ["invoke"]

    def test_an_equal_request_joins(self, folder: Path) -> None:
        job = submit_echo(1)
        submit_echo(1)
        joined = events(folder, "accept")[-1]
        assert (joined["type"], joined["reason"], joined["stands"]) == ("fail", "joined", str(job.id))
        assert joined["job"] != str(job.id)

    def test_a_claim_and_a_duplicate(self, folder: Path) -> None:
        job = submit_echo(1)
        claimed(job)
        assert claim(job.id, leased_by="worker-2") is None
        assert told(folder, "claim") == [
            ("invoke", None, None),
            ("ok", 1, None),
            ("invoke", None, None),
            ("fail", None, "duplicate"),
        ]

    def test_a_finish_and_a_stale_one(self, folder: Path) -> None:
        job = submit_echo(1)
        lease = claimed(job)
        finish(lease, Done())
        with pytest.raises(StaleLease):
            finish(lease, Done())
        assert told(folder, "finish") == [
            ("invoke", 1, None),
            ("ok", 1, "SUCCEEDED"),
            ("invoke", 1, None),
            ("fail", 1, "stale"),
        ]

    def test_a_finish_that_postgres_did_not_answer_is_unknown(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unanswered(*_: object) -> list[tuple[object, ...]]:
            raise OperationalError("gone")

        lease = claimed(submit_echo(1))
        monkeypatch.setattr(prepared, "fetch", unanswered)
        with pytest.raises(OperationalError):
            finish(lease, Done())
        assert told(folder, "finish")[-1] == ("info", 1, "OperationalError")

    def test_a_retry_a_failure_and_a_hand_back(self, folder: Path) -> None:
        job = submit_echo(1)
        fail(claimed(job), Retryable("later", after=0))
        lease = claimed(job)
        assert hand_back([lease.id], lease.leased_by) == 1
        assert hand_back([lease.id], lease.leased_by) == 0
        fail(claimed(job), Permanent("no"))
        assert told(folder, "retry") == [("invoke", 1, None), ("ok", 1, "QUEUED")]
        assert [type_ for type_, *_ in told(folder, "hand_back")] == ["invoke", "ok", "invoke", "fail"]
        assert told(folder, "fail") == [("invoke", 5, None), ("ok", 5, "FAILED")]
        assert told(folder, "dead_letter") == [("ok", None, "permanent")]

    def test_a_failure_that_came_too_late(self, folder: Path) -> None:
        job = submit_echo(1)
        lease = claimed(job)
        finish(lease, Done())
        with pytest.raises(StaleLease):
            fail(lease, Permanent("no"))
        assert told(folder, "fail") == [("invoke", 1, None), ("fail", 1, "stale")]
        assert told(folder, "dead_letter") == []

    def test_a_cancellation_and_one_too_late(self, folder: Path) -> None:
        job = submit_echo(1)
        cancel(job.id, owner="ada")
        with pytest.raises(NotCancellable):
            cancel(job.id, owner="ada")
        assert told(folder, "cancel") == [
            ("invoke", None, None),
            ("ok", None, "CANCELLED"),
            ("invoke", None, None),
            ("fail", None, "NotCancellable"),
        ]

    def test_what_the_sweeper_sends_and_what_it_gives_up(self, folder: Path) -> None:
        lost = submit_echo(1)
        Job.objects.filter(id=lost.id).update(max_attempts=1)
        claimed(lost)
        hinted = submit_echo(2)
        sweeper = Sweeper()
        sweeper.tick()
        sweeper._trust_leases_at = dict.fromkeys(POOLS, 0.0)
        move_back(lost, 60)
        move_back(hinted, 600)
        sweeper.tick()
        assert told(folder, "fail") == [("ok", None, "worker_lost")]
        assert told(folder, "dead_letter") == [("ok", None, "worker_lost")]
        swept = [event for event in events(folder, "dispatch") if event["via"] != "commit"]
        assert (str(hinted.id), 2) in [(event["job"], event["gen"]) for event in swept]

    def test_a_hint_that_redis_did_not_take_is_unknown(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hinting, "try_dispatch", lambda *_, **__: False)
        submit_echo(1)
        assert [type_ for type_, *_ in told(folder, "dispatch")] == ["info"]

    def test_a_tick_once_and_a_replay(self, folder: Path) -> None:
        _due(cron="0 0 29 2 *")  # a minute that begins meanwhile would be a tick of its own
        assert schedules.fire_due() == 1
        (tick,) = events(folder, "tick")
        assert (tick["type"], tick["schedule"]) == ("ok", "clock")
        job = submit_echo(1)
        fail(claimed(job), Permanent("no"))
        again = replays.replay(job.id, replays.Caller("ada"))
        replays.replay(job.id, replays.Caller("ada"))
        first, second = events(folder, "replay")
        assert (first["type"], first["job"], first["of"]) == ("ok", str(again.job.id), str(job.id))
        assert (second["type"], second["reason"]) == ("fail", "joined")

    def test_a_batch_is_one_call_with_an_end_for_each(self, folder: Path) -> None:
        jobs = [submit_echo(number) for number in range(3)]
        answers = try_claim_all([job.id for job in jobs], leased_by="w")
        leases = [answer for answer in answers.values() if isinstance(answer, Claimed)]
        cancel(jobs[1].id, owner="ada")
        assert finish_all([(lease, Done()) for lease in leases]) == {jobs[1].id}
        ends = events(folder, "finish")
        assert [event["type"] for event in ends] == ["invoke"] * 3 + ["ok", "fail", "ok"]
        assert len({event["call"] for event in ends}) == 1


def _due(*, cron: str) -> None:
    schedules.schedule("clock", owner="ada", cron=cron, kind="test.echo", params={}, missed=MissedTicks.ALL)
    tick = timezone.now().replace(second=0, microsecond=0)
    Schedule.objects.update(next_tick_at=tick, created_at=tick - timedelta(seconds=30))


def _probe(number: int) -> UUID:
    return submit("probe.fast", owner="ada", params={"tag": f"probe-{number}"}).job.id


def _run(job_id: UUID) -> None:
    run_job(job_id, gen=1, leased_by="worker-1")


def _rescue(job_id: UUID) -> None:
    """The first holder thaws after another has taken over and ended it."""
    late = claim(job_id, leased_by="worker-1")
    assert late is not None
    move_back(Job.objects.get(id=job_id), 60)
    run_job(job_id, gen=2, leased_by="worker-2")
    with pytest.raises(StaleLease):
        finish(late, Done())


def small_run() -> None:
    """A bit of everything."""
    ends: list[Callable[[UUID], object]] = [_run, _run, _rescue, lambda job_id: cancel(job_id, owner="ada")]
    for number, end in enumerate(ends):
        end(_probe(number))
    submit_bulk([JobRequest("probe.fast", {"tag": "bulk"})] * 2, owner="ada")
    together = [_probe(number) for number in range(10, 14)]
    run_jobs(dict.fromkeys([*together, Job.objects.get(params__tag="bulk").id], 1), leased_by="worker-1")
    handed = claimed(Job.objects.get(id=_probe(20)))
    hand_back([handed.id], handed.leased_by)
    _run(handed.id)
    dead = submit_echo(1)
    fail(claimed(dead), Retryable("later", after=0))
    fail(claimed(dead), Permanent("no"))
    run_job(replays.replay(dead.id, replays.Caller("ada")).job.id, gen=1, leased_by="worker-1")
    _due(cron="* * * * *")


def judged(folder: Path) -> tuple[int, str]:
    """The verdict, when every tick has run that came while the test did."""
    assert schedules.fire_due() > 0
    for tick in Job.objects.filter(identity__startswith="tick:"):
        _run(tick.id)
    return verdict(folder)


class TestTheCheckerReadsIt:
    def test_a_small_run_is_clean(self, folder: Path) -> None:
        small_run()
        status, said = judged(folder)
        assert status == 0, said
        assert "verdict: held" in said
        assert "0 ended" not in said

    @pytest.mark.parametrize("is_paused", [True, False])
    def test_a_schedule_owes_its_ticks_unless_it_was_paused(self, folder: Path, is_paused: bool) -> None:
        small_run()
        schedules.schedule("quiet", owner="ada", cron="* * * * *", kind="test.echo", params={}, missed=MissedTicks.ALL)
        since = timezone.now() - timedelta(minutes=10)
        Schedule.objects.filter(name="quiet").update(created_at=since, paused=is_paused)
        status, said = judged(folder)
        assert (status, "of quiet did not fire" in said) == ((0, False) if is_paused else (1, True)), said

    def test_a_row_that_vanished_is_lost(self, folder: Path) -> None:
        small_run()
        gone = Job.objects.filter(state="SUCCEEDED", kind="probe.fast").earliest("accepted_at")
        gone.events.all().delete()
        ProbeCount.objects.filter(job_id=gone.id).delete()
        Job.objects.filter(id=gone.id).delete()
        status, said = judged(folder)
        assert status == 1
        assert f"lost: 1 ({gone.id})" in said
        assert "claim ok" in said, "the story of the job is told"

    def test_a_finish_without_a_fence_is_seen(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The holder that thawed finishes with the token it once had, and is believed."""
        small_run()
        late = claimed(Job.objects.get(id=_probe(30)))
        move_back(Job.objects.get(id=late.id), 60)
        run_job(late.id, gen=2, leased_by="worker-2")
        with monkeypatch.context() as fenceless:
            fenceless.setattr(prepared, "fetch", lambda *_: [(late.id, 0.1)])
            finish(late, Done())
        status, said = judged(folder)
        assert status == 1
        assert "lease token: 1" in said
        assert "ended 2 times" in said
