"""Dead letters and their replays; the lists that the API shows; retention."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from jobs.claim import claim
from jobs.context import Done, StoredFile
from jobs.dead_letters import record_entry
from jobs.errors import DeadLetterNotFound, InvalidRequest, JobNotFound, NotReplayable, Permanent
from jobs.finish import fail, finish
from jobs.models import DeadLetter, IdempotencyKey, Job, JobEvent
from jobs.replays import Caller, replay
from jobs.selectors import LetterFilter, dispatchable, get_job, list_dead_letters, list_jobs, timeline
from jobs.submission import submit
from tests.integration.jobs.scenario import claimed, in_threads, submit_echo

ADA = Caller("ada")


def dead(number: int = 0) -> tuple[Job, DeadLetter]:
    job = submit_echo(number, farm_id="farm", priority="low")
    fail(claimed(job), Permanent("no"))
    return job, DeadLetter.objects.get(job_id=job.id)


def test_replay_is_a_new_job_linked_to_the_original() -> None:
    job, letter = dead(7)
    submitted = replay(letter.id, Caller("operator", sees_all=True))
    again = Job.objects.get(id=submitted.job.id)
    assert submitted.created
    assert (again.replay_of_id, again.root_id, again.identity) == (job.id, job.id, f"replay:{again.id}")
    assert (again.params, again.farm_id, again.priority) == (job.params, "farm", 6)
    letter.refresh_from_db()
    assert (letter.replayed_as_id, letter.replayed_by) == (again.id, "operator")


def test_second_replay_joins_the_open_one() -> None:
    _, letter = dead()
    first = replay(letter.id, ADA)
    second = replay(letter.id, ADA)
    assert (second.created, second.job.id) == (False, first.job.id)


def test_concurrent_replays_make_one_job() -> None:
    _, letter = dead()
    answers = in_threads(*[lambda: replay(letter.id, ADA)] * 6)
    assert sum(answer.created for answer in answers) == 1  # type: ignore[attr-defined]
    assert Job.objects.filter(replay_of_id__isnull=False).count() == 1


def test_replay_after_resubmission_is_answered_by_the_new_job() -> None:
    _, letter = dead()
    again = submit_echo(farm_id="farm")
    submitted = replay(letter.id, ADA)
    assert (submitted.created, submitted.job.id) == (False, again.id)
    finish(claimed(again), Done())
    assert replay(letter.id, ADA).job.id == again.id


def test_replay_of_a_replay_keeps_the_first_root() -> None:
    job, letter = dead()
    second = Job.objects.get(id=replay(letter.id, ADA).job.id)
    fail(claimed(second), Permanent("no"))
    third = Job.objects.get(id=replay(DeadLetter.objects.get(job_id=second.id).id, ADA).job.id)
    assert (third.root_id, third.replay_of_id) == (job.id, second.id)
    assert replay(letter.id, ADA).job.id == third.id


def test_replay_belongs_to_its_owner() -> None:
    _, letter = dead()
    with pytest.raises(DeadLetterNotFound):
        replay(letter.id, Caller("bob"))
    assert replay(letter.id, Caller("bob", sees_all=True)).created


def test_replay_of_a_thinned_job_is_the_whole_request() -> None:
    job = submit_echo(7, farm_id="farm", callback_url="https://example.org/done")
    fail(claimed(job), Permanent("no"))
    age(job, 31)
    call_command("prune_jobs")
    letter = DeadLetter.objects.get(job_id=job.id)
    again = Job.objects.get(id=replay(letter.id, ADA).job.id)
    assert (again.params, again.callback_url, again.request_hash) == (job.params, job.callback_url, job.request_hash)


def test_entry_is_recorded_once_however_often_it_comes() -> None:
    for deliveries in (1, 2):
        record_entry(entry_id="1-1", fields={"v": "x"}, reason="bridge_malformed", deliveries=deliveries)
    assert DeadLetter.objects.count() == 1


def test_unreadable_entry_is_kept_and_cannot_be_replayed() -> None:
    record_entry(entry_id="1-1", fields={"v": "x"}, reason="bridge_malformed", deliveries=3)
    letter = DeadLetter.objects.get()
    assert (letter.original_id, letter.delivery_count, letter.payload) == ("1-1", 3, {"v": "x"})
    with pytest.raises(NotReplayable):
        replay(letter.id, Caller("root", sees_all=True))


def test_list_pages_newest_first_without_gap_or_repetition() -> None:
    ids = [submit_echo(number).id for number in range(7)]
    submit("test.echo", owner="bob", params={})
    seen, cursor = [], None
    while True:
        page = list_jobs(owner="ada", cursor=cursor, limit=3)
        seen += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_list_filters_by_status_and_kind() -> None:
    done = submit_echo(1)
    finish(claimed(done), Done())
    submit_echo(2)
    submit("probe.io", owner="ada", params={})
    assert [job.id for job in list_jobs(owner="ada", status="SUCCEEDED").items] == [done.id]
    assert len(list_jobs(owner="ada", kind="probe.io").items) == 1
    assert len(list_jobs(owner="bob", see_all=True).items) == 3


@pytest.mark.parametrize("bad", [{"status": "DONE"}, {"cursor": "abc"}])
def test_list_refuses_what_it_does_not_know(bad: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(bad))):
        list_jobs(owner="ada", **bad)  # type: ignore[arg-type]


def test_dead_letters_are_listed_by_reason_and_owner() -> None:
    _, letter = dead()
    assert [item.id for item in list_dead_letters(LetterFilter(reason="permanent"), owner="ada").items] == [letter.id]
    assert list_dead_letters(LetterFilter(reason="poison"), owner="ada").items == []
    assert list_dead_letters(LetterFilter(), owner="bob").items == []


def test_another_owners_job_is_not_found() -> None:
    job = submit_echo()
    with pytest.raises(JobNotFound):
        get_job(job.id, owner="bob")
    assert get_job(job.id, owner="bob", see_all=True).id == job.id


def test_dispatchable_names_what_a_worker_could_claim() -> None:
    due, running, done = submit_echo(1), submit_echo(2), submit_echo(3)
    early = submit_echo(4, not_before=timezone.now() + timedelta(hours=1))
    claim(running.id, leased_by="w")
    finish(claimed(done), Done())
    assert dispatchable([due.id, running.id, done.id, early.id]) == {due.id: False}


def test_retention_thins_first_and_forgets_later() -> None:
    job = submit_echo(1, idempotency_key="k")
    key = default_storage.save(f"jobs/{job.id}/1/a.txt", ContentFile(b"abc"))
    finish(claimed(job), Done(result={"x": 1}, files=[StoredFile("a.txt", key, "text/plain", 3)]))
    kept = submit_echo(2)
    age(job, 31)
    call_command("prune_jobs")
    thin = Job.objects.get(id=job.id)
    assert (thin.params, thin.result, thin.files) == ({}, None, [])
    assert timeline(job.id) == []
    assert not default_storage.exists(key)
    assert submit("test.echo", owner="ada", params={"number": 1}).job.id == job.id
    age(job, 91)
    call_command("prune_jobs")
    assert list(Job.objects.values_list("id", flat=True)) == [kept.id]
    assert IdempotencyKey.objects.count() == 0
    assert JobEvent.objects.filter(job=kept).exists()
    assert submit("test.echo", owner="ada", params={"number": 1}).created


def age(job: Job, days: int) -> None:
    Job.objects.filter(id=job.id).update(finished_at=timezone.now() - timedelta(days=days))
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(days=days))


def test_open_jobs_are_never_pruned() -> None:
    job = submit_echo()
    Job.objects.update(accepted_at=timezone.now() - timedelta(days=400))
    call_command("prune_jobs")
    assert Job.objects.get(id=job.id).params == {"word": "hello", "number": 0}


def test_prune_racing_submits_of_the_same_requests_loses_none() -> None:
    for number in range(30):
        finish(claimed(submit_echo(number)), Done())
    Job.objects.update(finished_at=timezone.now() - timedelta(days=200), thinned_at=timezone.now())

    def submits() -> list[object]:
        return [submit("test.echo", owner="ada", params={"number": number}) for number in range(30)]

    answers = in_threads(submits, lambda: call_command("prune_jobs"), submits)
    assert len(answers[0]) == len(answers[2]) == 30  # type: ignore[arg-type]
    assert Job.objects.values("identity").distinct().count() == Job.objects.count()
