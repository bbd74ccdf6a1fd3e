"""Accepting jobs: the row first, the hint after the commit."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction

import history
from dispatch import Hint
from jobs import admission, idempotency, prepared, sql
from jobs.after_commit import after_commit
from jobs.errors import FieldProblem, IdempotencyConflict, InvalidRequest, JobsError
from jobs.hinting import Via, make_hint, send_after_commit
from jobs.kinds import all_kinds
from jobs.models import Job
from jobs.requests import HASH_VERSION, JobRequest, NewJob, prepare, prepare_all
from jobs.states import State
from metrics.catalogue import JOBS_ACCEPTED, JOBS_STAGE_SECONDS

__all__ = ["JobHead", "JobRequest", "Submitted", "insert", "submit", "submit_bulk"]

BULK_LIMIT: Final = 1000
#: A conflicting row may turn terminal between the insert that met it and the read that looks for it.
_INSERT_ROUNDS: Final = 10


class JobHead(NamedTuple):
    """What a submit knows of a job without reading its row again."""

    id: UUID
    state: str
    request_hash: str
    kind: str
    pool: str


class Submitted(NamedTuple):
    """`created` False = there was an equal request already; `replayed` = the Idempotency-Key had its answer."""

    job: JobHead
    created: bool
    replayed: bool = False


def submit(
    kind: str,
    *,
    owner: str,
    params: Mapping[str, Any],
    farm_id: str = "",
    priority: str = "normal",
    not_before: datetime | None = None,
    callback_url: str = "",
    force: bool = False,
    idempotency_key: str | None = None,
    body_hash: str | None = None,
    traceparent: str = "",
) -> Submitted:
    """Accepts one job and joins the caller's transaction: a rollback leaves no job and sends no hint.

    Raises InvalidRequest (UnknownKind), Overloaded, IdempotencyConflict.
    """
    request = JobRequest(kind, params, farm_id, priority, not_before, callback_url, force)
    with _refusals_counted([request]):
        new = prepare(request, owner=owner)
        return _accept([new], [request], owner, idempotency_key, body_hash, traceparent)[0]


def submit_bulk(
    requests: Sequence[JobRequest],
    *,
    owner: str,
    idempotency_key: str | None = None,
    body_hash: str | None = None,
    traceparent: str = "",
) -> list[Submitted]:
    """Accepts all of up to 1,000 jobs or none; answers in the order of the request, equal requests share a job.

    `body_hash` = SHA-256 hex of what the key stands for, default: of the arguments. Two bulks in one transaction of
    the caller may deadlock with another such transaction; one bulk per transaction cannot. Raises as `submit`.
    """
    if len(requests) > BULK_LIMIT:
        raise InvalidRequest([FieldProblem("jobs", f"has {len(requests)} items: send at most {BULK_LIMIT}")])
    with _refusals_counted(requests):
        new = prepare_all(requests, owner=owner)
        return _accept(new, requests, owner, idempotency_key, body_hash, traceparent)


def _accept(
    new: Sequence[NewJob],
    requests: Sequence[JobRequest],
    owner: str,
    key: str | None,
    body_hash: str | None,
    traceparent: str,
) -> list[Submitted]:
    with JOBS_STAGE_SECONDS.labels(stage="accept").time():
        if key is None:
            return insert(new, traceparent=traceparent)
        body_hash = body_hash or _body_hash(requests)
        return _insert_once(new, owner=owner, key=key, body_hash=body_hash, traceparent=traceparent)


def _insert_once(new: Sequence[NewJob], *, owner: str, key: str, body_hash: str, traceparent: str) -> list[Submitted]:
    with transaction.atomic():
        ids = idempotency.reserve(owner=owner, key=key, body_hash=body_hash)
        if ids is not None:
            return _again(ids, new)
        submitted = insert(new, traceparent=traceparent)
        idempotency.answer(owner=owner, key=key, ids=[item.job.id for item in submitted])
    return submitted


def insert(new: Sequence[NewJob], *, traceparent: str = "", gated: bool = True, via: Via = "commit") -> list[Submitted]:
    """Inserts prepared jobs, one result per item. Not `gated`: follow-ups, replays and ticks, which are never refused.

    Raises Overloaded.
    """
    first = {job.key: job for job in reversed(new)}
    # One order for everybody: two bulks that meet each other's rows wait, but never in a circle.
    unique = sorted(first.values(), key=lambda job: job.key)
    rooms = _rooms(unique, gated=gated)
    call = None
    if history.recorder is not None:
        call = history.recorder.call("accept", [{"job": job.id, "hash": job.key[0]} for job in unique])
    found: dict[tuple[str, str], Submitted] = {}
    for form in sql.IdentityForm:
        if jobs := [job for job in unique if sql.IdentityForm.of(job.identity) is form]:
            found |= _insert_form(form, jobs, rooms, traceparent, via)
    answers = [_answer(job, found[job.key]) for job in new]
    after_commit(_count, new, answers)
    if call is not None:
        after_commit(_note, call, unique, found)
    return answers


def _note(call: history.Call, jobs: Sequence[NewJob], found: Mapping[tuple[str, str], Submitted]) -> None:
    for job in jobs:
        if found[job.key].created:
            call.ok(job.id)
        else:
            call.fail(job.id, reason="joined", stands=found[job.key].job.id)


def _answer(job: NewJob, found: Submitted) -> Submitted:
    """The first item of its identity created the job; equal items of the same bulk are duplicates of it."""
    created = found.created and found.job.id == job.id
    return found if created == found.created else Submitted(found.job, created=False)


def _count(new: Sequence[NewJob], answers: Sequence[Submitted]) -> None:
    outcomes = Counter((job.kind.name, answer.created) for job, answer in zip(new, answers, strict=True))
    for (kind, created), count in outcomes.items():
        JOBS_ACCEPTED.labels(kind=kind, outcome="created" if created else "deduplicated").inc(count)


def _rooms(jobs: Sequence[NewJob], *, gated: bool) -> dict[str, admission.Room]:
    counts = Counter(job.kind.pool for job in jobs)
    return {pool: admission.admit(pool, count, gated=gated) for pool, count in counts.items()}


def _insert_form(
    form: sql.IdentityForm,
    jobs: Sequence[NewJob],
    rooms: Mapping[str, admission.Room],
    traceparent: str,
    via: Via,
) -> dict[tuple[str, str], Submitted]:
    found: dict[tuple[str, str], Submitted] = {}
    waiting = list(jobs)
    for _ in range(_INSERT_ROUNDS):
        rows = sorted(_execute(form, _columns(waiting, rooms, traceparent)))
        found |= {waiting[row.place].key: _submitted(waiting[row.place], row) for row in rows if row.state}
        hinted = [(waiting[row.place], row.dispatch_gen) for row in rows if row.dispatch_gen]
        send_after_commit([_hint(job, gen, traceparent) for job, gen in hinted], via=via)
        waiting = [waiting[row.place] for row in rows if not row.state]
        if not waiting:
            return found
    raise RuntimeError(f"{len(waiting)} jobs met rows that this transaction cannot see: use READ COMMITTED")


class _Row(NamedTuple):
    """One answer of sql.SUBMIT. `met` None = created, or, with no state, what stood in the way is gone again."""

    place: int  #: in what was asked, from 0
    met: UUID | None
    state: str
    dispatch_gen: int


def _submitted(job: NewJob, row: _Row) -> Submitted:
    head = JobHead(row.met or job.id, row.state, job.request_hash, job.kind.name, job.kind.pool)
    return Submitted(head, created=row.met is None)


def _hint(job: NewJob, gen: int, traceparent: str) -> Hint:
    kind = job.kind
    return make_hint(job.id, gen, kind.name, kind.pool, job.priority, job.request_hash, traceparent, attempt=0)


def _execute(form: sql.IdentityForm, columns: Mapping[str, Any]) -> list[_Row]:
    return [_Row(*row) for row in prepared.fetch(sql.SUBMIT[form], columns)]


def _columns(jobs: Sequence[NewJob], rooms: Mapping[str, admission.Room], traceparent: str) -> dict[str, Any]:
    left = {pool: room.hints for pool, room in rooms.items()}
    hint = []
    for job in jobs:
        hint.append(left[job.kind.pool] > 0)
        left[job.kind.pool] -= 1
    ids = [job.id.hex for job in jobs]
    columns: dict[str, Sequence[object]] = {
        "ids": ids,
        "owners": [job.owner for job in jobs],
        "identities": [job.identity for job in jobs],
        "hashes": [job.request_hash for job in jobs],
        "kinds": [job.kind.name for job in jobs],
        "pools": [job.kind.pool for job in jobs],
        "farms": [job.farm_id for job in jobs],
        "params": [job.params_json for job in jobs],
        "callbacks": [job.callback_url for job in jobs],
        "priorities": [int(job.priority) for job in jobs],
        "not_before": [job.not_before for job in jobs],
        "max_attempts": [job.kind.max_attempts for job in jobs],
        "roots": [job.origin.root_id or own for job, own in zip(jobs, ids, strict=True)],
        "parents": [job.origin.parent_id for job in jobs],
        "replays": [job.origin.replay_of_id for job in jobs],
        "stand_for": [job.origin.stands_for for job in jobs],
        "hint": hint,
        "grace": [rooms[job.kind.pool].grace_seconds for job in jobs],
    }
    return {name: prepared.array(values) for name, values in columns.items()} | {
        "epoch": next(iter(rooms.values())).epoch,
        "traceparent": traceparent,
        "hash_version": HASH_VERSION,
        "grace_cap": sql.GRACE_CAP_SECONDS,
    }


def _again(ids: Sequence[UUID], new: Sequence[NewJob]) -> list[Submitted]:
    """The jobs of a repeated Idempotency-Key, which `new` asks for once more.

    Both are kept DEDUP_DAYS, the job from its end. Only one that had succeeded before the key came can be gone earlier.
    """
    heads = {
        row["id"]: JobHead(**row)
        for row in Job.objects.filter(id__in=ids).values("id", "state", "request_hash", "kind", "pool")
    }
    for head in heads.values():
        JOBS_ACCEPTED.labels(kind=head.kind, outcome="deduplicated").inc()
    for job_id, job in zip(ids, new, strict=True):
        gone = JobHead(job_id, State.SUCCEEDED, job.request_hash, job.kind.name, job.kind.pool)
        heads.setdefault(job_id, gone)
    return [Submitted(heads[job_id], created=False, replayed=True) for job_id in ids]


def _body_hash(requests: Sequence[JobRequest]) -> str:
    """SHA-256 hex of the requests as they came. Takes any text and number: a kind's model may ignore what it does not
    know, which then need not be storable."""
    text = json.dumps([_as_json(request) for request in requests], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _as_json(request: JobRequest) -> dict[str, Any]:
    values = {field.name: getattr(request, field.name) for field in fields(request)}
    not_before = request.not_before.isoformat() if request.not_before else None
    return values | {"params": dict(request.params), "not_before": not_before}


@contextmanager
def _refusals_counted(requests: Sequence[JobRequest]) -> Iterator[None]:
    try:
        yield
    except JobsError as error:
        outcome = "conflict" if isinstance(error, IdempotencyConflict) else "rejected"
        for request in requests:
            kind = request.kind if request.kind in all_kinds() else "unknown"
            JOBS_ACCEPTED.labels(kind=kind, outcome=outcome).inc()
        raise
