"""The two topologies as values. A value knows how to render itself; rendering lives in one module per reader."""

from dataclasses import dataclass, field
from typing import Any

#: A host name or IP address and a TCP port.
type Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Access:
    """What both topologies need to be let in, and the database number they work in."""

    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    def celery(self) -> dict[str, Any]:
        """Celery settings (`broker_url`, `result_backend`, their options and timeouts), lower-case names."""
        from redis_topology import for_celery

        return for_celery.render(self)  # type: ignore[arg-type]  # one of the two subclasses

    def django_cache(self, *, key_prefix: str) -> dict[str, Any]:
        """LOCATION, KEY_PREFIX and OPTIONS of a `CACHES` entry, on its own database (`cache_db`); BACKEND is yours."""
        from redis_topology import for_django

        return for_django.render(self, key_prefix=key_prefix)  # type: ignore[arg-type]

    @property
    def cache_db(self) -> int:
        """The cache's database number: next to the broker's, so that emptying one never touches the other."""
        return self.db + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Standalone(_Access):
    """One Redis node."""

    host: str
    port: int = 6379

    def __str__(self) -> str:
        return f"Redis at {self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinel(_Access):
    """A primary that the Sentinels know by name. Every client lists all of them: the leader of a failover tells
    the new address about a second after the others."""

    sentinels: tuple[Address, ...]
    primary_name: str
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        hosts = ", ".join(f"{host}:{port}" for host, port in self.sentinels)
        return f"Redis primary {self.primary_name!r} by the Sentinels {hosts}"


type Topology = Standalone | Sentinel
