"""Retention: nobody waits for it, what belongs together goes together, files that no row names go after a day."""

import os
from datetime import timedelta
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobs import effects, ids, orphans, retention
from jobs.claim import claim
from jobs.context import Done, JobContext, StoredFile
from jobs.errors import NotReplayable, Permanent
from jobs.execution import run_job
from jobs.finish import fail, finish
from jobs.heartbeat import renew
from jobs.models import DeadLetter, Effect, Job, ProbeCount, ReplayAudit
from jobs.orphans import OrphanFiles
from jobs.replays import Bulk, Caller, replay, replay_all
from jobs.retention import prune_step
from jobs.selectors import LetterFilter
from jobs.submission import submit
from tests.integration.jobs.scenario import claimed, in_threads, script, submit_echo

ADA = Caller("ada")


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, settings: Settings) -> None:
    settings.MEDIA_ROOT = tmp_path


def succeeded(number: int) -> Job:
    job = submit_echo(number)
    finish(claimed(job), Done())
    return job


def age(days: int, *job_ids: object) -> None:
    """Lets these terminal jobs, or all, be that old."""
    jobs = Job.objects.filter(finished_at__isnull=False)
    jobs = jobs.filter(id__in=job_ids) if job_ids else jobs
    jobs.update(finished_at=timezone.now() - timedelta(days=days))


# -- nobody waits -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("days", [31, 91])
def test_claims_and_submits_go_on_while_a_prune_holds_its_rows(days: int) -> None:
    for number in range(20):
        succeeded(number)
    age(days)
    if days > 90:
        Job.objects.update(thinned_at=timezone.now())
    waiting = [submit_echo(100 + number) for number in range(5)]
    held, done = Event(), Event()

    def prunes_slowly() -> None:
        with transaction.atomic():
            step = prune_step()
            assert max(step.thinned, step.forgotten) == 20
            held.set()
            assert done.wait(60), "the claims did not end within 60 s"

    def works() -> None:
        assert held.wait(60), "the prune did not begin within 60 s"
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '20s'")
            for job in waiting:
                lease = claimed(job)
                assert renew("worker-1", [job.id]) == {job.id}
                finish(lease, Done())
            submit_echo(200)
            assert prune_step().thinned == 0, "a second prune skips what the first one holds"
        finally:
            done.set()

    in_threads(prunes_slowly, works)
    assert Job.objects.filter(id__in=[job.id for job in waiting], state="SUCCEEDED").count() == 5


def test_prune_takes_its_rows_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    for number in range(10):
        succeeded(number)
    age(31)
    assert [prune_step().thinned for _ in range(3)] == [4, 4, 2]


# -- what goes together -----------------------------------------------------------------------------------------------
def test_count_of_a_probe_goes_with_its_job() -> None:
    job_ids = [submit("probe.fast", owner="ada", params={"tag": tag}).job.id for tag in "ab"]
    for job_id in job_ids:
        assert run_job(job_id, gen=1, leased_by="w") == "succeeded"
    age(91, job_ids[0])
    call_command("prune_jobs")
    assert list(ProbeCount.objects.values_list("job_id", flat=True)) == [job_ids[1]]


def test_ledger_of_a_chain_stays_until_its_last_job_goes() -> None:
    def notifies(context: JobContext) -> Done:
        effects.intend(context, "notify")
        effects.confirm(context, "notify")
        raise Permanent("after the call")

    script["run"] = notifies
    root = submit("test.scripted", owner="ada", params={}).job.id
    other = submit("test.scripted", owner="ada", params={"number": 1}).job.id
    for job_id in (root, other):
        assert run_job(job_id, gen=1, leased_by="w") == "failed"
    again = replay(root, ADA).job.id
    assert run_job(again, gen=1, leased_by="w") == "failed"
    age(91, root)
    call_command("prune_jobs")
    assert not Job.objects.filter(id=root).exists()
    assert set(Effect.objects.values_list("root_id", flat=True)) == {root, other}
    age(91, again)
    call_command("prune_jobs")
    assert list(Effect.objects.values_list("root_id", flat=True)) == [other]


def test_audit_rows_are_kept_as_long_as_requests_are_recognised() -> None:
    replay_all(Bulk(LetterFilter()), ADA)
    replay_all(Bulk(LetterFilter()), ADA)
    old = ReplayAudit.objects.first()
    assert old is not None
    ReplayAudit.objects.filter(id=old.id).update(at=timezone.now() - timedelta(days=91))
    call_command("prune_jobs")
    assert ReplayAudit.objects.count() == 1


def test_prune_racing_replays_never_leaves_a_chain_without_its_ledger() -> None:
    jobs = [submit_echo(number) for number in range(30)]
    for job in jobs:
        fail(claimed(job), Permanent("no"))
        Effect.objects.create(root_id=job.id, name="notify", state="done")
    Job.objects.update(thinned_at=timezone.now())
    age(91)

    def replays() -> int:
        created = 0
        for job in jobs:
            try:
                created += replay(job.id, ADA).created
            except NotReplayable:
                continue
        return created

    created, _, _ = in_threads(replays, prune_step, prune_step)
    chains = set(Job.objects.filter(replay_of_id__isnull=False).values_list("root_id", flat=True))
    assert len(chains) == created
    assert chains <= set(Effect.objects.values_list("root_id", flat=True))
    prune_step()
    assert set(Effect.objects.values_list("root_id", flat=True)) == chains
    assert DeadLetter.objects.count() == 30, "letters have their own time"


def test_prune_racing_a_repeated_idempotency_key_makes_at_most_one_job_more() -> None:
    asked = {"owner": "ada", "params": {}, "idempotency_key": "k"}
    job_id = submit("test.echo", **asked).job.id  # type: ignore[arg-type]
    finish(claimed(Job.objects.get(id=job_id)), Done())
    Job.objects.update(thinned_at=timezone.now())
    age(91)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE idempotency_key SET created_at = now() - interval '91 days'")
    answers = in_threads(*[lambda: submit("test.echo", **asked)] * 4, prune_step)[:4]  # type: ignore[arg-type]
    told = {answer.job.id for answer in answers}  # type: ignore[attr-defined]
    assert len(told - {job_id}) <= 1
    assert Job.objects.exclude(id=job_id).count() == len(told - {job_id})


# -- files ------------------------------------------------------------------------------------------------------------
LONG_AGO = timezone.now() - timedelta(days=3)


def stored(job: Job, token: int, name: str, *, days_old: float = 2) -> str:
    key = default_storage.save(f"jobs/{job.id}/{token}/{name}", ContentFile(b"abc"))
    then = timezone.now().timestamp() - days_old * 86_400
    os.utime(default_storage.path(key), (then, then))
    return key


def old_job(number: int) -> Job:
    """Accepted three days ago, and running."""
    job = submit_echo(number)
    old_id = ids.floor(LONG_AGO + timedelta(seconds=number))
    Job.objects.filter(id=job.id).update(id=old_id, root_id=old_id)
    return Job.objects.get(id=old_id)


def test_files_that_no_row_names_go_after_a_day() -> None:
    job, lost = old_job(1), old_job(2)
    named, stale = stored(job, 2, "a.tif"), stored(job, 1, "a.tif")
    finish(claimed(job), Done(files=[StoredFile("a.tif", named, "image/tiff", 3)]))
    gone, young = stored(lost, 1, "a.tif"), stored(lost, 2, "a.tif", days_old=0.5)
    forgotten = f"jobs/{ids.floor(LONG_AGO)}/1/a.tif"
    default_storage.save(forgotten, ContentFile(b"abc"))
    os.utime(default_storage.path(forgotten), (0, 0))
    assert OrphanFiles().step().files == 3
    assert [default_storage.exists(key) for key in (named, stale, gone, young, forgotten)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert not Path(default_storage.path(f"jobs/{ids.floor(LONG_AGO)}")).exists(), "empty folders go, too"
    assert Path(default_storage.path(f"jobs/{job.id}/2")).is_dir()


def test_files_of_young_jobs_and_of_others_are_left_alone() -> None:
    keys = [
        stored(submit_echo(), 1, "a.tif"),
        default_storage.save(f"scenes/{uuid4()}.tif", ContentFile(b"abc")),
        default_storage.save("jobs/readme/1/a.txt", ContentFile(b"abc")),
    ]
    for key in keys:
        os.utime(default_storage.path(key), (0, 0))
    assert OrphanFiles().step().files == 0
    assert all(default_storage.exists(key) for key in keys)


def test_a_pass_takes_few_folders_at_a_time_and_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "FOLDERS", 2)
    for number in range(5):
        stored(old_job(number), 1, "a.tif")
    sweep = OrphanFiles()
    deleted = 0
    for _ in range(50):
        swept = sweep.step()
        assert swept.files <= 2
        deleted += swept.files
        if swept.is_done:
            break
    assert (swept.is_done, deleted) == (True, 5)
    stored(old_job(9), 1, "a.tif")
    assert sweep.step().files == 0, "the next pass is not due"
    assert OrphanFiles().step().files <= 2


def test_a_running_attempt_keeps_its_files() -> None:
    job = submit_echo()
    lease = claim(job.id, leased_by="w")
    assert lease is not None
    key = stored(job, lease.lease_token, "a.tif", days_old=0)
    call_command("prune_jobs")
    assert default_storage.exists(key)
