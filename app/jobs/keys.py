"""API keys: `hf_<id>_<secret>`. Owns their table, creation, verification and revocation.

The id (8 of a-z0-9) is looked up by primary key, then SHA-256 of the secret (256 random bits as hex) is compared in
constant time. A password hasher would cost half a second of CPU per request and protects low-entropy secrets only.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from jobs import prepared, sql

#: read: jobs and results; submit: new jobs, cancel, uploads; operate: dead letters, replay, every owner's jobs.
SCOPES: Final = ("read", "submit", "operate")

_FORMAT: Final = re.compile(r"hf_([a-z0-9]{8})_([0-9a-f]{64})", re.ASCII)
_ID_ALPHABET: Final = string.ascii_lowercase + string.digits
#: How stale `last_used_at` may be: written at most this often, never per request.
_LAST_USED_STEP: Final = timedelta(hours=1)
#: Compared with when the id is unknown, so that both cases take the same time.
_NO_SECRET: Final = "0" * 64


class KeyInvalid(Exception):
    """A key cannot be created as asked; the message names the argument and the fix."""


class ApiKey(models.Model):
    """One key of one owner. The secret is never stored."""

    id = models.CharField(primary_key=True, max_length=8)
    secret_sha256 = models.CharField(max_length=64)
    owner = models.CharField(max_length=64, db_index=True)
    scopes = ArrayField(models.CharField(max_length=16))
    #: requests per minute; null = API_RATE_LIMIT
    rate_limit = models.PositiveIntegerField(null=True, blank=True)
    note = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "api_key"

    def __str__(self) -> str:
        return f"hf_{self.id} ({self.owner})"


@dataclass(frozen=True, slots=True)
class Created:
    """A new key and its text, which can be shown only now."""

    key: ApiKey
    text: str


def create(
    *,
    owner: str,
    scopes: Collection[str],
    rate_limit: int | None = None,
    note: str = "",
    text: str | None = None,
) -> Created:
    """Stores a key for `owner`; `text` imports a given one. Raises KeyInvalid."""
    text = text or f"hf_{_random_id()}_{secrets.token_hex(32)}"
    key_id, secret = _parse(text)
    key = ApiKey(
        id=key_id,
        secret_sha256=_digest(secret),
        owner=_checked_owner(owner),
        scopes=_checked_scopes(scopes),
        rate_limit=rate_limit,
        note=note,
    )
    key.save(force_insert=True)
    return Created(key, text)


def ensure_first(text: str) -> bool:
    """Stores the first key (owner `default`, every scope) unless its id is there. True when it was stored now.

    Raises KeyInvalid when the text is malformed, or when the stored key of that id has another secret.
    """
    key_id, secret = _parse(text)
    stored = ApiKey.objects.filter(pk=key_id).first()
    if stored is None:
        create(owner="default", scopes=SCOPES, note="HOLDFAST_API_KEY", text=text)
        return True
    if not hmac.compare_digest(stored.secret_sha256, _digest(secret)):
        raise KeyInvalid(
            f"HOLDFAST_API_KEY: the database holds another secret for hf_{key_id}: restore the old value in .env, "
            f"or give it a new id"
        )
    return False


class LiveKey(NamedTuple):
    """What a request needs of its key. `rate_limit` in requests per minute, None = API_RATE_LIMIT."""

    id: str
    owner: str
    scopes: list[str]
    rate_limit: int | None


def verify(text: str) -> LiveKey | None:
    """The live key whose text this is, or None. One indexed look-up, no write but an hourly `last_used_at`."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        return None
    found = prepared.fetch(sql.READ_LIVE_KEY, {"id": match[1], "step": _LAST_USED_STEP})
    secret_sha256, is_stale, *key = found[0] if found else (_NO_SECRET, False)
    if not hmac.compare_digest(secret_sha256, _digest(match[2])) or not found:
        return None
    if is_stale:
        prepared.execute(sql.NOTE_KEY_USE, {"id": match[1], "step": _LAST_USED_STEP})
    return LiveKey(*key)


def revoke(key_id: str) -> bool:
    """Revokes hf_<key_id> at once; False when there is no live key of that id."""
    live = ApiKey.objects.filter(pk=key_id, revoked_at=None)
    return live.update(revoked_at=timezone.now()) == 1


def _parse(text: str) -> tuple[str, str]:
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise KeyInvalid(
            "an API key reads hf_<8 of a-z0-9>_<64 of 0-9a-f>: let `make up` generate HOLDFAST_API_KEY, "
            "or run `python manage.py create_api_key`"
        )
    return match[1], match[2]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _random_id() -> str:
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))


def _checked_owner(owner: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", owner, re.ASCII):
        raise KeyInvalid("owner: 1 to 64 of letters, digits and ._@-, beginning with a letter or digit")
    return owner


def _checked_scopes(scopes: Collection[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        given = ", ".join(unknown) or "none"
        raise KeyInvalid(f"scopes: choose from {', '.join(SCOPES)}; given: {given}")
    return [scope for scope in SCOPES if scope in scopes]
