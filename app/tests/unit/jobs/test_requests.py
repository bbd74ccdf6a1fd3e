"""Canonical form and hash of a request."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ids import floor, new_id
from jobs.requests import canonical, digest, is_storable_json, request_hash

texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@given(st.dictionaries(texts, json_values, max_size=5))
def test_order_of_keys_does_not_matter(params: dict[str, object]) -> None:
    backwards = dict(reversed(params.items()))
    assert canonical(params) == canonical(backwards)
    assert request_hash("o", "k", "f", params, "") == request_hash("o", "k", "f", backwards, "")


@given(st.lists(st.text(), min_size=3, max_size=3), st.lists(st.text(), min_size=3, max_size=3))
def test_different_parts_never_run_together(left: list[str], right: list[str]) -> None:
    same = digest(left) == digest(right) if _encodable(left) and _encodable(right) else left == right
    assert same == (left == right)


def _encodable(values: list[str]) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for value in values for character in value)


def test_hash_is_pinned() -> None:
    """A change of this value needs a new HASH_VERSION: old rows would no longer be recognised."""
    assert request_hash("ada", "probe.fast", "f1", {"work_ms": 1, "tag": "é"}, "") == (
        "194e86288c54aa9ab0bae240a7898926c95431bfddb3fda0376f0595cee4cc61"
    )


@pytest.mark.parametrize(
    ("text", "storable"),
    [('"a"', True), ('"\\u0000"', False), ('"\\\\u0000"', True), ('"\\\\\\u0000"', False), ('"\ud800"', False)],
)
def test_finds_what_postgres_cannot_hold(text: str, storable: bool) -> None:
    assert is_storable_json(text) is storable


def test_ids_grow_with_time() -> None:
    ids = []
    for _ in range(100):
        ids.append(new_id())
        time.sleep(0.000001)  # more than the quarter of a microsecond that an id can tell
    assert all(job_id.version == 7 for job_id in ids)
    assert ids == sorted(ids), "those of one millisecond, too"
    from datetime import UTC, datetime, timedelta

    assert floor(datetime.now(UTC) - timedelta(minutes=1)) < ids[0] < floor(datetime.now(UTC) + timedelta(minutes=1))
