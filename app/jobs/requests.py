"""A request for a job: checked, brought into canonical form, hashed. Touches no database.

Hash, version 1: SHA-256 over the UTF-8 JSON array [version, owner, kind, farm_id, params, callback_url] with sorted
keys and no blanks; params as the kind's model dumps them, so that a default spelled out and a default left out are one
request. Priority, not_before and force say *when*, not *what*, and stay outside.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from dispatch.pools import Priority
from jobs.errors import FieldProblem, InvalidRequest
from jobs.ids import new_id
from jobs.kinds import Kind, get_kind, get_submittable_kind
from jobs.webhooks.address import url_problem

HASH_VERSION: Final = 1

_FARM_ID_LIMIT: Final = 200
_URL_LIMIT: Final = 2000
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
#: An even number of backslashes before it is an escaped backslash, and then no escape.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a caller asks for. `params` as JSON values; `not_before` aware."""

    kind: str
    params: Mapping[str, Any]
    farm_id: str = ""
    priority: str = "normal"
    not_before: datetime | None = None
    callback_url: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job comes from when it is no plain submit; decides its identity."""

    identity: str | None = None  #: step:… or tick:…; None = made of `form`
    form: Literal["req", "force", "replay"] = "req"
    root_id: UUID | None = None  #: None = the job itself
    parent_id: UUID | None = None
    replay_of_id: UUID | None = None
    stands_for: str | None = None  #: of a replay: identity of the root; None = the job's own


_PLAIN: Final = Origin()


class NewJob(NamedTuple):
    """A row about to be inserted."""

    id: UUID
    owner: str
    identity: str
    request_hash: str
    kind: Kind
    farm_id: str
    params_json: str
    callback_url: str
    priority: Priority
    not_before: datetime | None
    origin: Origin = _PLAIN

    @property
    def key(self) -> tuple[str, str]:
        """Of two open jobs with one key there is one; in the order in which everybody inserts."""
        return self.origin.stands_for or self.identity, self.owner


def prepare_all(requests: Sequence[JobRequest], *, owner: str) -> list[NewJob]:
    """Checks every request. Raises InvalidRequest with all problems, each with its `index`."""
    prepared: list[NewJob] = []
    problems: list[FieldProblem] = []
    for index, request in enumerate(requests):
        try:
            prepared.append(prepare(request, owner=owner))
        except InvalidRequest as error:
            problems += [FieldProblem(item.field, item.message, index) for item in error.problems]
    if problems:
        raise InvalidRequest(problems)
    return prepared


def prepare(request: JobRequest, *, owner: str, origin: Origin | None = None) -> NewJob:
    """Checks one request against its kind. Raises InvalidRequest that names each field.

    Without an origin it is a submit, which knows no internal kind.
    """
    kind = get_kind(request.kind) if origin else get_submittable_kind(request.kind)
    problems = [*_text_problems(request), *_time_problems(request)]
    params_json, params_problems = _params_json(kind, request.params)
    priority = _priority(request.priority, problems)
    if problems or params_problems:
        raise InvalidRequest([*problems, *params_problems])
    job_id = new_id()
    origin = origin or _PLAIN
    digest = _request_hash(owner, kind.name, request.farm_id, params_json, request.callback_url)
    return NewJob(
        id=job_id,
        owner=owner,
        identity=_identity(origin, "force" if request.force else origin.form, job_id, digest),
        request_hash=digest,
        kind=kind,
        farm_id=request.farm_id,
        params_json=params_json,
        callback_url=request.callback_url,
        priority=priority,
        not_before=request.not_before,
        origin=origin,
    )


def _identity(origin: Origin, form: str, job_id: UUID, digest: str) -> str:
    return origin.identity or f"{form}:{digest if form == 'req' else job_id}"


def request_hash(owner: str, kind: str, farm_id: str, params: Mapping[str, Any], callback_url: str) -> str:
    """SHA-256 hex of the canonical request; see the module's text for the form."""
    return _request_hash(owner, kind, farm_id, canonical(params), callback_url)


def _request_hash(owner: str, kind: str, farm_id: str, params_json: str, callback_url: str) -> str:
    # The array's text from that of its parts: the params, the longest of them, are written once.
    before, after = _around_params(owner, kind, farm_id, callback_url)
    return hashlib.sha256(f"{before}{params_json}{after}".encode()).hexdigest()


@lru_cache(maxsize=256)
def _around_params(owner: str, kind: str, farm_id: str, callback_url: str) -> tuple[str, str]:
    """The hashed text before and after the params: in a bulk mostly the same."""
    return f"{canonical([HASH_VERSION, owner, kind, farm_id])[:-1]},", f",{canonical(callback_url)}]"


def digest(value: object) -> str:
    """SHA-256 hex of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: object) -> str:
    """The one JSON text of `value`."""
    return _encoder.encode(value)


_encoder: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _params_json(kind: Kind, given: Mapping[str, Any]) -> tuple[str, list[FieldProblem]]:
    try:
        params = kind.params.model_validate(dict(given)).model_dump(mode="json")
    except ValidationError as error:
        return "", [FieldProblem(_path(item["loc"]), item["msg"]) for item in error.errors(include_url=False)]
    try:
        text = canonical(params)
    except ValueError:
        return "", [FieldProblem("params", "holds a number that JSON cannot carry: use finite numbers")]
    if not is_storable_json(text):
        return "", [FieldProblem("params", "holds a character that cannot be stored: remove NUL and lone surrogates")]
    return text, []


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(["params", *(str(part) for part in location)])


def _text_problems(request: JobRequest) -> list[FieldProblem]:
    problems = []
    for name, value, limit in (
        ("farm_id", request.farm_id, _FARM_ID_LIMIT),
        ("callback_url", request.callback_url, _URL_LIMIT),
    ):
        if len(value) > limit:
            problems.append(FieldProblem(name, f"has {len(value)} characters: use at most {limit}"))
        elif not is_storable(value):
            problems.append(FieldProblem(name, "holds a character that cannot be stored: use plain text"))
    if request.callback_url and not problems and (problem := url_problem(request.callback_url)):
        problems.append(FieldProblem("callback_url", problem))
    return problems


def is_storable(text: str) -> bool:
    """Whether Postgres can hold the text: any Unicode but NUL; a lone surrogate is no Unicode."""
    return "\0" not in text if text.isascii() else not _UNSTORABLE.search(text)


def is_storable_json(text: str) -> bool:
    """The same for JSON text, where NUL stands escaped."""
    return is_storable(text) and not ("\\u0000" in text and _ESCAPED_NUL.search(text))


def _time_problems(request: JobRequest) -> list[FieldProblem]:
    if request.not_before is not None and request.not_before.utcoffset() is None:
        return [FieldProblem("not_before", "has no time zone: add one, e.g. 2026-05-01T06:00:00Z")]
    return []


def _priority(word: str, problems: list[FieldProblem]) -> Priority:
    try:
        return Priority.from_word(word)
    except ValueError as error:
        problems.append(FieldProblem("priority", str(error).removeprefix("priority: ")))
        return Priority.NORMAL
