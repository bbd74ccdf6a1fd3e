"""The hint's wire format."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch import Hint, MalformedHint, Priority, UnknownHintVersion

HINTS = st.builds(
    Hint,
    job_id=st.uuids(),
    gen=st.integers(0, 9999),
    kind=st.from_regex(r"[a-z][a-z0-9.]{0,29}", fullmatch=True),
    pool=st.sampled_from(["fast", "cpu", "io"]),
    priority=st.sampled_from(Priority),
    request_hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    traceparent=st.sampled_from(["", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"]),
    enqueued_ms=st.integers(0, 9_999_999_999_999),
)


def as_redis_answers(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


def valid_fields() -> dict[bytes, bytes]:
    hint = Hint(UUID(int=7), 2, "probe.fast", "fast", Priority.NORMAL, "ab" * 32, "", 1_700_000_000_000)
    return as_redis_answers(hint.to_fields())


@given(HINTS)
def test_reads_back_what_it_wrote(hint: Hint) -> None:
    assert Hint.from_fields(as_redis_answers(hint.to_fields())) == hint


@given(HINTS)
def test_stays_under_200_bytes(hint: Hint) -> None:
    assert sum(len(name) + len(value) for name, value in hint.to_fields().items()) < 200


def test_keeps_a_hash_that_is_no_sha256() -> None:
    fields = valid_fields() | {b"h": b"v2:abc"}
    assert Hint.from_fields(fields).request_hash == "v2:abc"


def test_leaves_an_unknown_version_to_a_newer_reader() -> None:
    with pytest.raises(UnknownHintVersion) as caught:
        Hint.from_fields({b"v": b"2", b"anything": b"else"})
    assert caught.value.version == "2"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({b"j": b"not-a-job"}, "j"),
        ({b"g": b"-1"}, "g"),
        ({b"g": "٣".encode()}, "g"),
        ({b"r": b"4"}, "r"),
        ({b"k": b""}, "k"),
        ({b"m": b"soon"}, "m"),
        ({b"v": b"one"}, "v"),
        ({b"v": b""}, "v"),
        ({b"h": b"!" * 43}, "h"),
    ],
)
def test_names_the_malformed_field(change: dict[bytes, bytes], field: str) -> None:
    with pytest.raises(MalformedHint, match=f"field {field}"):
        Hint.from_fields(valid_fields() | change)


def test_refuses_bytes_that_are_no_text() -> None:
    with pytest.raises(MalformedHint, match="UTF-8"):
        Hint.from_fields({b"v": b"\xff"})


def test_priority_words_are_those_of_the_api() -> None:
    assert [Priority.from_word(word) for word in ("high", "normal", "low")] == list(Priority)
    with pytest.raises(ValueError, match="high, normal, low"):
        Priority.from_word("urgent")
