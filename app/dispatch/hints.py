"""The hint: all that Redis ever carries of a job. The payload stays in Postgres.

Stream entry, version 1 (every field a short string, the whole under 200 bytes):

    v   version, "1"                    r   priority step, "0" "3" "6"
    j   job id, 32 hex digits           h   request hash; 64 hex digits travel as 43 of base64url
    g   dispatch generation             t   W3C traceparent, may be absent
    k   kind                            m   enqueued at, Unix milliseconds
    p   pool
"""

import binascii
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from dispatch.errors import MalformedHint, UnknownHintVersion
from dispatch.pools import Priority

VERSION: Final = "1"

_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
_PACKED_SHA256_LENGTH: Final = 43


@dataclass(frozen=True, slots=True)
class Hint:
    """A word that there may be work: names a job, promises nothing. May be lost, repeated or reordered."""

    job_id: UUID
    gen: int  #: dispatch_gen of the row when the hint was made; for traces, never a reason to drop
    kind: str
    pool: str
    priority: Priority
    request_hash: str
    traceparent: str
    enqueued_ms: int  #: Unix milliseconds
    batchable: bool = False  #: may share a Celery message with others; no field of the entry: the bridge asks again

    def to_fields(self) -> dict[str, str]:
        """The stream entry's fields."""
        fields = {
            "v": VERSION,
            "j": self.job_id.hex,
            "g": str(self.gen),
            "k": self.kind,
            "p": self.pool,
            "r": str(int(self.priority)),
            "h": _pack_hash(self.request_hash),
            "m": str(self.enqueued_ms),
        }
        if self.traceparent:
            fields["t"] = self.traceparent
        return fields

    @classmethod
    def from_fields(cls, fields: Mapping[bytes, bytes]) -> "Hint":
        """Reads an entry as redis-py returns it.

        Raises UnknownHintVersion for an entry of another release, MalformedHint for what is no hint at all.
        """
        text = _decoded(fields)
        version = _required(text, "v")
        if version != VERSION:
            if not version.isdecimal():
                raise MalformedHint(f"field v: {version!r} is not a version number")
            raise UnknownHintVersion(version)
        return cls(
            job_id=_job_id(_required(text, "j")),
            gen=_number(text, "g"),
            kind=_required(text, "k"),
            pool=_required(text, "p"),
            priority=_priority(text),
            request_hash=_unpack_hash(text.get("h", "")),
            traceparent=text.get("t", ""),
            enqueued_ms=_number(text, "m"),
        )


def _decoded(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    try:
        return {name.decode(): value.decode() for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise MalformedHint("the entry is not UTF-8") from error


def _required(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise MalformedHint(f"field {name}: missing")
    return value


def _job_id(value: str) -> UUID:
    try:
        return UUID(hex=value)
    except ValueError as error:
        raise MalformedHint(f"field j: {value[:64]!r} is not a job id") from error


def _number(fields: Mapping[str, str], name: str) -> int:
    value = _required(fields, name)
    if not (value.isascii() and value.isdecimal()):
        raise MalformedHint(f"field {name}: {value[:32]!r} is not a whole number")
    return int(value)


def _priority(fields: Mapping[str, str]) -> Priority:
    number = _number(fields, "r")
    try:
        return Priority(number)
    except ValueError as error:
        raise MalformedHint(f"field r: {number} is not a priority step") from error


def _pack_hash(value: str) -> str:
    if not _SHA256_HEX.fullmatch(value):
        return value
    return urlsafe_b64encode(bytes.fromhex(value)).rstrip(b"=").decode()


def _unpack_hash(value: str) -> str:
    if len(value) != _PACKED_SHA256_LENGTH:
        return value
    try:
        return b64decode(value + "=", altchars=b"-_", validate=True).hex()
    except (binascii.Error, ValueError) as error:
        raise MalformedHint(f"field h: {value!r} is not base64url") from error
