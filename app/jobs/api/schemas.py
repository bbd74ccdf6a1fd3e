"""What goes over the wire. Names and shapes are public; the OpenAPI document is made from them."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
)

from jobs.api.text import STORABLE, Storable
from jobs.states import Reason, State

BULK_LIMIT: Final = 1000
PAGE_LIMIT: Final = 200
REPLAY_LIMIT: Final = 1000

PriorityWord = Literal["high", "normal", "low"]
PoolName = Literal["fast", "cpu", "io"]


class Request(BaseModel):
    """A body from outside: unknown members are errors, so that a misspelt one is not ignored in silence."""

    model_config = ConfigDict(extra="forbid")


def _moment(value: object) -> object:
    # pydantic would read a bare number as seconds since 1970.
    if value is not None and not isinstance(value, str):
        raise ValueError("is not text: use e.g. 2026-05-01T06:00:00Z")
    return value


def _storable_moment(value: datetime) -> datetime:
    # Near the ends of the calendar a change of zone leaves it, in Postgres or in Python.
    if not 1000 <= value.year < 3000:
        raise ValueError("is no year between 1000 and 2999")
    return value


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment),
    AfterValidator(_storable_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": "^[12][0-9]{3}-"}),
]
#: A host, no user name before it, no fragment at the end.
_WEB_PATTERN: Final = r"^https?://[^/?#@]+([/?][^#]*)?$"
#: What submit itself accepts; an empty text is no address.
_WEB_ADDRESS: Final = {
    "anyOf": [{"const": ""}, {"type": "string", "format": "uri", "pattern": _WEB_PATTERN, "maxLength": 2000}]
}
WebAddress = Annotated[Storable, Field(max_length=2000), WithJsonSchema(_WEB_ADDRESS)]


_CALLBACK: Final = (
    "Told of the job's end by a POST, signed and repeated after standardwebhooks.com; equal `webhook-id` is one event."
)


class JobIn(Request):
    """A request for one job. Equal requests (kind, farm_id, params, callback_url) are one job until it fails."""

    kind: Annotated[Storable, Field(max_length=40, description="A registered job kind.")]
    farm_id: Annotated[
        Storable,
        Field(max_length=200, pattern=STORABLE, description="Whose data; part of what makes requests equal."),
    ] = ""
    params: dict[Storable, Any] = Field(description="What the kind takes.")
    priority: PriorityWord = Field("normal", description="Of each feed at least a tenth goes to the lowest class.")
    not_before: Moment | None = Field(None, description="Earliest start, with time zone.")
    callback_url: WebAddress = Field("", description=_CALLBACK)
    force: Annotated[bool, Strict()] = Field(False, description="A new job although an equal one is there.")


class BulkIn(Request):
    """All of these jobs or none."""

    jobs: Annotated[list[JobIn], Field(min_length=1, max_length=BULK_LIMIT)]


class Accepted(BaseModel):
    id: str = Field(description="Opaque.")
    status: State
    request_hash: str = Field(description="SHA-256 of the canonical request, hex.")
    url: str = Field(description="Path of the job.")


class BulkItem(BaseModel):
    id: str
    status: State
    duplicate: bool = Field(description="An equal request was there before, or stands earlier in this one.")


class BulkAccepted(BaseModel):
    """One item per job of the request, in its order."""

    jobs: list[BulkItem]


class Event(BaseModel):
    at: datetime
    event: str
    to_status: State
    attempt: int
    actor: str
    reason: str


class Failure(BaseModel):
    error_class: str
    message: str


class File(BaseModel):
    name: str
    media_type: str
    bytes: int
    url: str = Field(description="Path of the file's content.")


class JobSummary(BaseModel):
    id: str
    status: State
    kind: str
    farm_id: str
    priority: PriorityWord
    attempts: int
    accepted_at: datetime
    finished_at: datetime | None
    url: str


class JobOut(JobSummary):
    pool: str
    owner: str
    request_hash: str
    max_attempts: int
    not_before: datetime | None
    started_at: datetime | None = Field(description="Start of the latest attempt.")
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: Failure | None = Field(description="Of the latest failed attempt.")
    files: list[File]
    timeline: list[Event] = Field(description="Oldest first.")
    replay_of: str | None
    previous: str | None = Field(description="The failed or cancelled job of the same request.")


class JobPage(BaseModel):
    """Newest first."""

    jobs: list[JobSummary]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null at the end.")


class Cancelled(BaseModel):
    id: str
    status: State
    was: State
    note: str = Field(description="What the cancellation could not undo.")


class DeadLetterOut(BaseModel):
    id: str
    job_id: str | None = Field(description="null for a stream entry that names no job.")
    owner: str
    kind: str
    pool: str
    reason: Reason
    original_id: str
    delivery_count: int
    error_class: str
    error_message: str
    payload: dict[str, Any]
    accepted_at: datetime | None
    created_at: datetime
    announced_at: datetime | None = Field(description="When the dead-letter stream took it.")
    replayed_as: str | None = Field(description="The job that stands for it.")
    replayed_at: datetime | None
    replayed_by: str


class DeadLetterPage(BaseModel):
    """Highest id first; the id of a job's letter is the job's."""

    dead_letters: list[DeadLetterOut]
    next_cursor: str | None


class LetterFilter(Request):
    """Which dead letters; what is left out is any."""

    kind: Annotated[Storable | None, Field(max_length=100)] = None
    reason: Reason | None = None
    pool: PoolName | None = None
    since: Moment | None = Field(None, description="Dead at or after this moment.")
    until: Moment | None = Field(None, description="Dead before this moment.")


class BulkReplayIn(Request):
    """Replays what nobody replayed yet, lowest id first."""

    filter: LetterFilter = Field(description="`{}` is every letter that this key sees.")
    dry_run: Annotated[bool, Strict()] = Field(False, description="Only say what would become of them.")
    rate: Annotated[float, Field(gt=0, le=1000, description="Jobs per second that may start.")] = 20.0
    limit: Annotated[int, Field(ge=1, le=REPLAY_LIMIT, description="Letters of this request.")] = REPLAY_LIMIT
    cursor: Annotated[Storable | None, Field(max_length=200, description="`next_cursor` of the answer before.")] = None


class Refusal(BaseModel):
    id: str = Field(description="The dead letter.")
    message: str


class BulkReplayed(BaseModel):
    """matched = created + joined + refused."""

    id: str = Field(description="Of the row that says who did this.")
    dry_run: bool
    matched: int
    created: int
    joined: int = Field(description="Letters whose request has an open or succeeded job already.")
    refused: int
    refusals: list[Refusal] = Field(description="The first 20 of those refused.")
    last_start: datetime | None = Field(description="When the last of the jobs may start.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next letters; null at the end.")


class Replayed(BaseModel):
    id: str = Field(description="The job that now stands for the dead letter.")
    status: State
    created: bool = Field(description="False when it joined the open or succeeded job of the same request.")
    url: str
