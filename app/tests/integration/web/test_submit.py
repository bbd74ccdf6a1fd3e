"""POST /jobs and /jobs/bulk: each answer of the public interface."""

import uuid

import httpx
import pytest

from tests.integration.web.conftest import Stack, fields_of, problem_of


def job(**changes: object) -> dict[str, object]:
    return {"kind": "probe.fast", "farm_id": "farm", "params": {"tag": uuid.uuid4().hex}, **changes}


def test_accepts_a_job_with_202_and_the_same_request_with_200(client: httpx.Client) -> None:
    body = job()
    first = client.post("/api/v1/jobs", json=body)
    again = client.post("/api/v1/jobs", json=body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert set(first.json()) == {"id", "status", "request_hash", "url"}
    read = client.get(first.json()["url"])
    assert read.status_code == 200
    assert read.json()["status"] == "QUEUED"
    assert [event["event"] for event in read.json()["timeline"]] == ["accepted"]


def test_one_number_written_in_two_ways_is_one_request(client: httpx.Client) -> None:
    tag = uuid.uuid4().hex
    headers = {"Content-Type": "application/json"}
    bodies = [
        b'{"kind": "probe.fast", "params": {"tag": "%s", "work_ms": %s}}' % (tag.encode(), number)
        for number in (b"5", b"5.0", b"0.5e1")
    ]
    answers = [client.post("/api/v1/jobs", content=body, headers=headers) for body in bodies]
    assert [answer.status_code for answer in answers] == [202, 200, 200]


def test_forces_a_second_job(client: httpx.Client) -> None:
    body = job()
    first = client.post("/api/v1/jobs", json=body)
    forced = client.post("/api/v1/jobs", json={**body, "force": True})
    assert forced.status_code == 202
    assert forced.json()["id"] != first.json()["id"]


def test_another_owner_s_equal_request_is_another_job(stack: Stack, client: httpx.Client) -> None:
    body = job()
    mine = client.post("/api/v1/jobs", json=body).json()["id"]
    with stack.client(stack.key("submit", owner="neighbour")) as neighbour:
        theirs = neighbour.post("/api/v1/jobs", json=body)
    assert theirs.status_code == 202
    assert theirs.json()["id"] != mine


def test_a_used_idempotency_key_answers_the_same_or_409(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    body = job()
    first = client.post("/api/v1/jobs", json=body, headers=headers)
    same = client.post("/api/v1/jobs", json=body, headers=headers)
    other = client.post("/api/v1/jobs", json=job(), headers=headers)
    assert (first.status_code, same.status_code, other.status_code) == (202, 200, 409)
    assert first.json()["id"] == same.json()["id"]
    assert "Idempotency-Key" in problem_of(other)["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "no.such"}, "kind"),
        ({"kind": "\0"}, "kind"),
        ({"kind": 7}, "kind"),
        ({"params": "text"}, "params"),
        ({"params": {"work_ms": "soon"}}, "params.work_ms"),
        ({"params": {"unknown": 1}}, "params.unknown"),
        ({"farm_id": "a\0b"}, "farm_id"),
        ({"farm_id": "x" * 201}, "farm_id"),
        ({"priority": "urgent"}, "priority"),
        ({"not_before": "yesterday"}, "not_before"),
        ({"not_before": "2030-01-01T00:00:00"}, "not_before"),
        ({"not_before": "0001-01-01T00:00:00+14:00"}, "not_before"),
        ({"not_before": 1_800_000_000}, "not_before"),
        ({"callback_url": "ftp://host/"}, "callback_url"),
        ({"force": "yes"}, "force"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_names_the_faulty_field(client: httpx.Client, changes: dict[str, object], field: str) -> None:
    answer = client.post("/api/v1/jobs", json=job(**changes))
    assert field in fields_of(answer)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"kind": "probe.fast", "params": {}, "farm_id": "\\ud800"}',
        b'{"kind": "probe.fast", "params": {"tag": "\\u0000"}}',
        b'{"kind": "probe.fast", "params": {"\\ud800": 1}}',
        b'{"kind": "probe.fast", "params": {"work_ms": NaN}}',
        b'{"kind": "probe.fast", "params": {"work_ms": 1e999}}',
        b'{"kind": "probe.fast", "params": {"work_ms": 1' + b"0" * 6000 + b"}}",
        b'{"kind": "probe.fast", "params": {"work_ms": 1' + b"0" * 300 + b"}}",
        b'{"kind": "probe.fast", "params": ' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}",
        b"[" * 200_000,
        b'{"kind": "probe.fast", "params": {}, "not_before": 1e18}',
        b'{"kind": "probe.fast", "params": {}, "not_before": "+999999-01-01T00:00:00Z"}',
        b'{"kind": "probe.fast", "params": {}, "callback_url": "http://[::1"}',
    ],
)
def test_odd_bodies_are_422_and_never_500(client: httpx.Client, text: bytes) -> None:
    answer = client.post("/api/v1/jobs", content=text, headers={"Content-Type": "application/json"})
    assert fields_of(answer)


def test_refuses_another_content_type_with_415(client: httpx.Client) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post("/api/v1/jobs", content=b"{}", headers={"Content-Type": content_type})
        assert answer.status_code == 415
        assert "application/json" in problem_of(answer)["detail"]


def test_refuses_a_malformed_idempotency_key(client: httpx.Client) -> None:
    for value in ("with blank", "x" * 256, ""):
        answer = client.post("/api/v1/jobs", json=job(), headers={"Idempotency-Key": value})
        assert fields_of(answer) == ["Idempotency-Key"]


def test_bulk_answers_in_order_and_shares_ids_of_duplicates(client: httpx.Client) -> None:
    first, second = job(), job()
    answer = client.post("/api/v1/jobs/bulk", json={"jobs": [second, first, second]})
    assert answer.status_code == 202
    items = answer.json()["jobs"]
    assert [item["duplicate"] for item in items] == [False, False, True]
    assert items[0]["id"] == items[2]["id"] != items[1]["id"]
    single = client.post("/api/v1/jobs", json=first)
    assert (single.status_code, single.json()["id"]) == (200, items[1]["id"])


def test_bulk_is_all_or_nothing_and_names_the_job(client: httpx.Client) -> None:
    good = job()
    bad = [job(kind="no.such"), job(params={"work_ms": -1})]
    answer = client.post("/api/v1/jobs/bulk", json={"jobs": [good, *bad]})
    assert fields_of(answer) == ["jobs[1].kind", "jobs[2].params.work_ms"]
    answer = client.post("/api/v1/jobs/bulk", json={"jobs": [good, {**good, "priority": "urgent"}]})
    assert fields_of(answer) == ["jobs[1].priority"]
    assert client.post("/api/v1/jobs", json=good).status_code == 202


def test_bulk_takes_a_thousand_and_no_more(client: httpx.Client) -> None:
    jobs = [job() for _ in range(1001)]
    assert fields_of(client.post("/api/v1/jobs/bulk", json={"jobs": jobs})) == ["jobs"]
    assert fields_of(client.post("/api/v1/jobs/bulk", json={"jobs": []})) == ["jobs"]
    answer = client.post("/api/v1/jobs/bulk", json={"jobs": jobs[:1000]})
    assert answer.status_code == 202
    assert len({item["id"] for item in answer.json()["jobs"]}) == 1000


def test_bulk_honours_the_idempotency_key_for_the_whole_request(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    jobs = [job(), job()]
    first = client.post("/api/v1/jobs/bulk", json={"jobs": jobs}, headers=headers)
    same = client.post("/api/v1/jobs/bulk", json={"jobs": jobs}, headers=headers)
    other = client.post("/api/v1/jobs/bulk", json={"jobs": jobs[:1]}, headers=headers)
    assert [item["id"] for item in first.json()["jobs"]] == [item["id"] for item in same.json()["jobs"]]
    assert (same.status_code, other.status_code) == (202, 409)
