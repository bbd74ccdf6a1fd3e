"""REDIS_URL, parsed once. Errors name the part that is wrong and what to write instead."""

import string
from typing import Final
from urllib.parse import parse_qsl, unquote

from redis_topology.topologies import Address, Sentinel, Standalone, Topology

_PLAIN_SCHEMES: Final = {"redis": False, "rediss": True}
_SENTINEL_SCHEMES: Final = {"redis+sentinel": False, "rediss+sentinel": True}
_SCHEMES: Final = (*_PLAIN_SCHEMES, *_SENTINEL_SCHEMES)

#: Spellings of other tools, and of yesterday, with the scheme that we take.
_MEANT: Final = {
    "sentinel": "redis+sentinel",
    "redis-sentinel": "redis+sentinel",
    "sentinel+redis": "redis+sentinel",
    "rediss-sentinel": "rediss+sentinel",
    "sentinels": "rediss+sentinel",
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+tls": "rediss",
    "tcp": "redis",
}

_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")

#: Redis numbers its databases 0 to 15, and the cache takes the next one.
_HIGHEST_DB: Final = 14
_HIGHEST_PORT: Final = 65535

_HOST_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits + "-._")


class RedisUrlError(ValueError):
    """REDIS_URL cannot be used; the message names the part and the fix, and never holds a password."""


def parse(url: str, *, password: str | None = None, sentinel_password: str | None = None) -> Topology:
    """The topology that `url` names; raises RedisUrlError.

    redis://[user[:password]@]host[:6379][/db]
    redis+sentinel://[user[:password]@]host[:26379][,host…]/primary-name[/db][?sentinel_username=…&sentinel_password=…]
    `rediss` and `rediss+sentinel` are the same over TLS. User names, passwords and the primary's name are
    percent-encoded. `password` and `sentinel_password` are used where the URL has none.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        raise RedisUrlError(f"scheme: missing; begin with one of {_listed(_SCHEMES)}, e.g. redis://app@redis-1:6379/0")
    scheme = scheme.lower()
    if scheme in _PLAIN_SCHEMES:
        return _standalone(rest, tls=_PLAIN_SCHEMES[scheme], password=password)
    if scheme in _SENTINEL_SCHEMES:
        tls = _SENTINEL_SCHEMES[scheme]
        return _sentinel(rest, tls=tls, password=password, sentinel_password=sentinel_password)
    raise RedisUrlError(_wrong_scheme(scheme))


def _wrong_scheme(scheme: str) -> str:
    if scheme in _MEANT:
        return f"scheme: {scheme}:// is not known; write {_MEANT[scheme]}://"
    return f"scheme: {scheme}:// is not known; write one of {_listed(_SCHEMES)}"


def _standalone(rest: str, *, tls: bool, password: str | None) -> Standalone:
    userinfo, hosts, path, query = _parts(rest)
    if "," in hosts:
        raise RedisUrlError("host: several hosts need Sentinel; write redis+sentinel:// and the primary's name")
    if path.count("/") > 0:
        raise RedisUrlError(f"path: /{path} has more than a database number; for Sentinel write redis+sentinel://")
    _options(query, known=())
    username, own_password = _credentials(userinfo, what="user")
    host, port = _address(hosts, default_port=6379)
    return Standalone(
        host=host, port=port, db=_db(path), username=username, password=own_password or password or None, tls=tls
    )


def _sentinel(rest: str, *, tls: bool, password: str | None, sentinel_password: str | None) -> Sentinel:
    userinfo, hosts, path, query = _parts(rest)
    name, _, db = path.partition("/")
    if not name:
        raise RedisUrlError("primary name: missing; write it after the hosts, e.g. …:26379/holdfast/0")
    options = _options(query, known=_SENTINEL_OPTIONS)
    username, own_password = _credentials(userinfo, what="user")
    return Sentinel(
        sentinels=_sentinel_addresses(hosts),
        primary_name=_decoded(name, what="primary name"),
        db=_db(db),
        username=username,
        password=own_password or password or None,
        sentinel_username=options.get("sentinel_username") or None,
        sentinel_password=options.get("sentinel_password") or sentinel_password or None,
        tls=tls,
    )


def _sentinel_addresses(hosts: str) -> tuple[Address, ...]:
    addresses = tuple(_address(one, default_port=26379) for one in hosts.split(","))
    twice = {host for host in addresses if addresses.count(host) > 1}
    if twice:
        host, port = min(twice)
        raise RedisUrlError(f"host: {host}:{port} is listed twice; name each Sentinel once")
    return addresses


def _parts(rest: str) -> tuple[str, str, str, str]:
    """userinfo, hosts, path without its first slash, query. The userinfo ends at the last @ before the path;
    urlsplit does not take several hosts."""
    if "#" in rest:
        raise RedisUrlError("fragment: everything after # would be cut off; percent-encode a # in a password as %23")
    body, _, query = rest.partition("?")
    authority, _, path = body.partition("/")
    userinfo, _, hosts = authority.rpartition("@")
    return userinfo, hosts, path, query


def _credentials(userinfo: str, *, what: str) -> tuple[str | None, str | None]:
    username, _, password = userinfo.partition(":")
    if ":" in password:
        raise RedisUrlError("password: holds a bare colon; percent-encode it as %3A")
    return _decoded(username, what=what) or None, _decoded(password, what="password") or None


def _address(text: str, *, default_port: int) -> Address:
    host, port = _host_and_port(text.strip())
    if not host:
        raise RedisUrlError(f"host: missing in {_shown(text)}; write host:port, e.g. 10.92.92.11:{default_port}")
    return host, _port(port, default=default_port)


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, after = text[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise RedisUrlError(f"host: {_shown(text)} has no closing bracket; write [::1]:6379")
        return host, after[1:]
    host, _, port = text.partition(":")
    if ":" in port:
        raise RedisUrlError(f"host: {_shown(text)} has two colons; write an IPv6 address in brackets, [::1]:6379")
    if not set(host) <= _HOST_CHARACTERS:
        raise RedisUrlError("host: holds a character no host has; percent-encode / ? # @ : in user and password")
    return host, port


def _port(text: str, *, default: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _HIGHEST_PORT:
        raise RedisUrlError(f"port: {_shown(text)} is not a port; write a number from 1 to {_HIGHEST_PORT}")
    return int(text)


def _db(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or int(text) > _HIGHEST_DB:
        raise RedisUrlError(
            f"database: {_shown(text)} is no database number; write 0 to {_HIGHEST_DB} (the cache takes the next one)"
        )
    return int(text)


def _options(query: str, *, known: tuple[str, ...]) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict") if query else []
    except ValueError:
        raise RedisUrlError("query: not of the form name=value&name=value; percent-encode & and = in values") from None
    names = [name for name, _ in pairs]
    for name in names:
        if name not in known:
            fix = f"leave it out or write one of {_listed(known)}" if known else "leave it out"
            raise RedisUrlError(f"query: {_shown(name)} is not known here; {fix}")
        if names.count(name) > 1:
            raise RedisUrlError(f"query: {name} stands there twice; write it once")
    # A plus is a plus: parse_qsl reads it as a blank, which is right for forms and wrong for passwords.
    return {name: unquote(value) for name, _, value in (pair.partition("=") for pair in query.split("&")) if name}


def _decoded(text: str, *, what: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise RedisUrlError(f"{what}: its percent-encoding is not UTF-8; encode the UTF-8 bytes") from None


def _shown(text: str) -> str:
    """Quoted and short, for a message. Only for parts that hold no secret."""
    return repr(text if len(text) <= 40 else text[:37] + "…")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
