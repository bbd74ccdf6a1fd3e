"""The registry of job kinds: what a kind is called, where it runs, what it takes, how often it may fail.

A kind lives in the module `kinds` of an installed app::

    @job_kind("thumbs.make", pool="cpu", params=ThumbParams)
    def make_thumb(job: JobContext, params: ThumbParams) -> Done: ...

    adopt(existing_function_or_celery_task, name="thumbs.make", pool="cpu")
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, create_model

from dispatch.pools import POOLS
from jobs.context import Done, JobContext
from jobs.errors import UnknownKind

type Handler = Callable[[JobContext, Any], Done | Mapping[str, Any] | None]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
#: Characters: a stream entry carries the kind and stays under 200 bytes.
_NAME_LIMIT: Final = 40


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job. Times in seconds."""

    name: str
    pool: str
    params: type[BaseModel]
    handler: Handler
    max_attempts: int
    backoff_seconds: float  #: upper bound of the first wait; doubles per attempt, full jitter
    backoff_cap_seconds: float
    internal: bool = False  #: made by Holdfast itself: to a submit it does not exist
    batchable: bool = False  #: a run takes milliseconds, so that several may share a message, a claim and a finish

    def schema(self) -> dict[str, Any]:
        """JSON schema of the params."""
        return self.params.model_json_schema()


_kinds: dict[str, Kind] = {}


def job_kind(
    name: str,
    *,
    pool: str,
    params: type[BaseModel],
    max_attempts: int = 5,
    backoff_seconds: float = 1.0,
    backoff_cap_seconds: float = 300.0,
    internal: bool = False,
    batchable: bool = False,
) -> Callable[[Handler], Handler]:
    """Registers the decorated handler. Raises ValueError that names what is wrong: a fault here stops the start.

    `batchable` is for work of a few milliseconds: where many such jobs wait, a worker claims several at once, runs them
    one after the other and finishes them in one transaction. A job that kills its worker then costs the others of its
    batch an attempt; whoever has lost one travels alone.
    """
    _check(name, pool, max_attempts)
    if batchable and max_attempts == 1:
        raise ValueError(f"kind {name!r}: is batchable and has one attempt, which another job could cost it: allow 2")

    def register(handler: Handler) -> Handler:
        known = _kinds.get(name)
        if known and known.handler is not handler:
            raise ValueError(f"kind {name!r} is registered twice: rename one of them")
        _kinds[name] = Kind(
            name, pool, params, handler, max_attempts, backoff_seconds, backoff_cap_seconds, internal, batchable
        )
        return handler

    return register


def _check(name: str, pool: str, max_attempts: int) -> None:
    if not _NAME.fullmatch(name) or len(name) > _NAME_LIMIT:
        raise ValueError(f"kind {name!r}: use lower-case words joined by dots, at most {_NAME_LIMIT} characters")
    if pool not in POOLS:
        raise ValueError(f"kind {name!r}: unknown pool {pool!r}: use one of {', '.join(POOLS)}")
    if max_attempts < 1:
        raise ValueError(f"kind {name!r}: max_attempts is {max_attempts}: use at least 1")


def adopt(work: Callable[..., Any], *, name: str, pool: str, as_effect: bool = False, **options: Any) -> Handler:  # noqa: ANN401
    """Makes an existing function or Celery task a kind; its params are the function's keyword arguments.

    With `as_effect` the call runs inside the fenced finish transaction: for work that only writes to the database.
    Otherwise it runs as a handler does (database writes are refused) and a dict that it returns is the result.
    `options` are those of `job_kind`.
    """
    function = getattr(work, "run", work) if hasattr(work, "apply_async") else work
    model = _params_of(function, name)

    def handler(_job: JobContext, params: BaseModel) -> Done | Mapping[str, Any] | None:
        arguments = {field: getattr(params, field) for field in type(params).model_fields}
        if as_effect:
            return Done(effects=[lambda: function(**arguments)])
        answer = function(**arguments)
        return answer if isinstance(answer, Done | Mapping) or answer is None else {"value": answer}

    return job_kind(name, pool=pool, params=model, **options)(handler)


def _params_of(function: Callable[..., Any], name: str) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"kind {name!r}: parameter {parameter} cannot be named in JSON: wrap the function")
        annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
        fields[parameter.name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    return create_model(f"{name} params", __config__=ConfigDict(extra="forbid"), **fields)


def get_kind(name: str) -> Kind:
    """The registered kind. Raises UnknownKind that lists what there is."""
    kind = _kinds.get(name)
    if kind is None:
        raise _unknown(name)
    return kind


def get_submittable_kind(name: str) -> Kind:
    """The registered kind, unless it is internal. Raises UnknownKind that lists what there is."""
    kind = get_kind(name)
    if kind.internal:
        raise _unknown(name)
    return kind


def submittable_kinds() -> list[Kind]:
    """What a submit may name."""
    return [kind for kind in _kinds.values() if not kind.internal]


def batchable_kinds() -> list[Kind]:
    """Whose jobs may share a message."""
    return [kind for kind in _kinds.values() if kind.batchable]


def _unknown(name: str) -> UnknownKind:
    return UnknownKind(name, sorted(kind.name for kind in submittable_kinds()))


def all_kinds() -> Mapping[str, Kind]:
    """Every registered kind by name; a live, read-only view."""
    return MappingProxyType(_kinds)
