"""REDIS_URL: every spelling that is taken, and for every mistake a sentence that names the part and the fix."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_topology import RedisUrlError, Sentinel, Standalone, parse

SENTINELS = "10.92.92.21:26379,10.92.92.22:26379,10.92.92.23:26379"

#: Anything a secret can hold. Surrogates are no text; NUL is refused by no one and useful to nobody.
SECRETS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@given(username=SECRETS, password=SECRETS, tls=st.booleans(), db=st.integers(0, 14))
def test_percent_encoded_credentials_of_a_node_come_back(username: str, password: str, tls: bool, db: int) -> None:
    scheme = "rediss" if tls else "redis"
    url = f"{scheme}://{quote(username, safe='')}:{quote(password, safe='')}@redis-1:6380/{db}"
    assert parse(url) == Standalone(host="redis-1", port=6380, db=db, username=username, password=password, tls=tls)


@given(name=SECRETS, password=SECRETS, sentinel_username=SECRETS, sentinel_password=SECRETS)
def test_percent_encoded_parts_of_a_sentinel_url_come_back(
    name: str, password: str, sentinel_username: str, sentinel_password: str
) -> None:
    query = (
        f"sentinel_username={quote(sentinel_username, safe='')}&sentinel_password={quote(sentinel_password, safe='')}"
    )
    parsed = parse(f"redis+sentinel://app:{quote(password, safe='')}@{SENTINELS}/{quote(name, safe='')}/2?{query}")
    assert isinstance(parsed, Sentinel)
    assert (parsed.primary_name, parsed.password, parsed.db) == (name, password, 2)
    assert (parsed.sentinel_username, parsed.sentinel_password) == (sentinel_username, sentinel_password)


@given(SECRETS)
def test_no_secret_stands_in_a_message_or_a_repr(secret: str) -> None:
    marked = f"secret{secret}secret"
    encoded = quote(marked, safe="")
    assert marked not in repr(parse(f"redis://app:{encoded}@redis-1"))
    with pytest.raises(RedisUrlError) as error:
        parse(f"redis+sentinel://app:{encoded}@{SENTINELS}/?sentinel_password={encoded}")
    assert marked not in str(error.value)
    assert encoded not in str(error.value)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_with_a_sentence(text: str) -> None:
    try:
        parse(text)
    except RedisUrlError as error:
        part, colon, fix = str(error).partition(": ")
        assert colon
        assert part
        assert fix


def test_sentinel_url_of_the_stack_is_taken_with_passwords_from_beside_it() -> None:
    url = f"redis+sentinel://app@{SENTINELS}/holdfast/0?sentinel_username=app"
    parsed = parse(url, password="one", sentinel_password="two")
    assert parsed == Sentinel(
        sentinels=(("10.92.92.21", 26379), ("10.92.92.22", 26379), ("10.92.92.23", 26379)),
        primary_name="holdfast",
        username="app",
        password="one",
        sentinel_username="app",
        sentinel_password="two",
    )


def test_password_in_the_url_wins_over_the_one_beside_it() -> None:
    assert parse("redis://app:own@redis-1", password="other").password == "own"


@pytest.mark.parametrize(
    ("url", "host", "port", "db"),
    [
        ("redis://redis-1", "redis-1", 6379, 0),
        ("redis://redis-1/", "redis-1", 6379, 0),
        ("REDIS://redis-1:7000/14", "redis-1", 7000, 14),
        ("redis://[::1]:6380/3", "::1", 6380, 3),
        ("  redis://redis-1:6379/0\n", "redis-1", 6379, 0),
    ],
)
def test_node_defaults_are_port_6379_and_database_0(url: str, host: str, port: int, db: int) -> None:
    parsed = parse(url)
    assert isinstance(parsed, Standalone)
    assert (parsed.host, parsed.port, parsed.db) == (host, port, db)


def test_sentinel_port_defaults_to_26379_and_tls_is_the_schemes() -> None:
    parsed = parse("rediss+sentinel://s1,s2:26380,[::1]/holdfast")
    assert isinstance(parsed, Sentinel)
    assert parsed.sentinels == (("s1", 26379), ("s2", 26380), ("::1", 26379))
    assert parsed.tls


@pytest.mark.parametrize(
    ("url", "part", "fix"),
    [
        ("", "scheme", "redis://"),
        ("redis-1:6379", "scheme", "redis://"),
        ("redis-sentinel://s1/holdfast", "scheme", "write redis+sentinel://"),
        ("sentinel://s1/holdfast", "scheme", "write redis+sentinel://"),
        ("valkey://v", "scheme", "write redis://"),
        ("http://redis-1", "scheme", "write one of redis, rediss, redis+sentinel, rediss+sentinel"),
        ("redis://", "host", "write host:port"),
        ("redis://a,b", "host", "redis+sentinel://"),
        ("redis://[::1", "host", "[::1]:6379"),
        ("redis://fe80::1", "host", "brackets"),
        ("redis://app:p:w@redis-1", "password", "%3A"),
        ("redis://app:p#w@redis-1", "fragment", "%23"),
        ("redis://app:p/w@redis-1", "port", "number from 1"),
        ("redis://redis-1:0", "port", "number from 1"),
        ("redis://redis-1:99999", "port", "65535"),
        ("redis://redis-1:port", "port", "65535"),
        ("redis://redis-1/15", "database", "0 to 14"),
        ("redis://redis-1/holdfast", "database", "0 to 14"),
        ("redis://redis-1/holdfast/0", "path", "redis+sentinel://"),
        ("redis://redis-1?ssl=1", "query", "leave it out"),
        ("redis+sentinel://s1,s2", "primary name", "holdfast/0"),
        ("redis+sentinel://s1,s2/", "primary name", "holdfast/0"),
        ("redis+sentinel://s1,,s2/holdfast", "host", "write host:port"),
        ("redis+sentinel://s1,s1/holdfast", "host", "once"),
        ("redis+sentinel://s1/holdfast/x", "database", "0 to 14"),
        ("redis+sentinel://s1/holdfast/0?password=x", "query", "sentinel_password"),
        ("redis+sentinel://s1/holdfast/0?sentinel_password", "query", "name=value"),
        ("redis+sentinel://s1/holdfast?sentinel_username=a&sentinel_username=b", "query", "once"),
        ("redis://app:%ff@redis-1", "password", "UTF-8"),
    ],
)
def test_mistake_names_its_part_and_the_fix(url: str, part: str, fix: str) -> None:
    with pytest.raises(RedisUrlError) as error:
        parse(url)
    assert str(error.value).startswith(f"{part}: ")
    assert fix in str(error.value)


def test_topology_is_a_value() -> None:
    assert hash(parse("redis://a")) == hash(parse("redis://a:6379/0"))
    with pytest.raises(AttributeError):
        parse("redis://a").db = 3  # type: ignore[misc]
