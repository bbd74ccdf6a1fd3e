"""Who asks, and whether they may: `auth=authenticated("submit")` on an operation, then `principal(request)` inside."""

from dataclasses import dataclass
from typing import Final, Literal, cast

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer

from jobs.api.problems import Problem
from jobs.api.rate_limit import limiter
from jobs.keys import LiveKey, verify

Scope = Literal["read", "submit", "operate"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The account behind a key. `rate_limit` is in requests per minute, None = no limit."""

    owner: str
    scopes: frozenset[str]
    key_id: str
    rate_limit: int | None

    @property
    def sees_all(self) -> bool:
        """Whether other owners' jobs are visible; for everybody else they are 404."""
        return "operate" in self.scopes


class BearerKey(HttpBearer):
    """`Authorization: Bearer hf_<id>_<secret>`, holding one of `scopes`, below its rate limit."""

    def __init__(self, *scopes: Scope) -> None:
        super().__init__()
        self.scopes = scopes

    def authenticate(self, request: HttpRequest, token: str) -> Principal:  # noqa: ARG002 - ninja's signature
        """The key's account; raises Problem 401, 403 or 429."""
        key = verify(token)
        if key is None:
            raise unauthenticated("This key is unknown or revoked.")
        caller = _principal(key)
        _enforce_rate_limit(caller)
        if caller.scopes.isdisjoint(self.scopes):
            lacking = " or ".join(f"'{scope}'" for scope in self.scopes)
            raise Problem(403, detail=f"This key lacks the scope {lacking}: use one created with it.")
        return caller


def authenticated(*scopes: Scope) -> BearerKey:
    """The `auth=` of an operation that needs one of `scopes`."""
    return BearerKey(*scopes)


def principal(request: HttpRequest) -> Principal:
    """The caller of an operation guarded by `authenticated`."""
    return cast("Principal", request.auth)  # type: ignore[attr-defined]  # set by ninja after authenticate()


def unauthenticated(detail: str) -> Problem:
    """401 with the challenge that RFC 6750 asks for."""
    return Problem(401, "A valid API key is needed", detail, headers={"WWW-Authenticate": _CHALLENGE})


_CHALLENGE: Final = 'Bearer realm="holdfast"'


def _principal(key: LiveKey) -> Principal:
    limit = key.rate_limit if key.rate_limit is not None else settings.HOLDFAST.api_rate_limit
    return Principal(owner=key.owner, scopes=frozenset(key.scopes), key_id=key.id, rate_limit=limit)


def _enforce_rate_limit(caller: Principal) -> None:
    if caller.rate_limit is None:
        return
    wait = limiter().take(caller.key_id, limit=caller.rate_limit)
    if wait > 0:
        detail = f"This key may send {caller.rate_limit} requests a minute; wait {wait} s."
        raise Problem(429, "The rate limit is reached", detail, headers={"Retry-After": str(wait)})
