"""Reading, listing and cancelling: owners, scopes, cursors."""

import uuid

import httpx
import pytest

from tests.integration.web.conftest import Stack, fields_of, problem_of


def submit(client: httpx.Client, **changes: object) -> str:
    body = {"kind": "probe.fast", "params": {"tag": uuid.uuid4().hex}, **changes}
    answer = client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    identifier: str = answer.json()["id"]
    return identifier


def test_another_owner_s_job_is_404_and_operate_sees_it(stack: Stack, client: httpx.Client) -> None:
    job_id = submit(client)
    with stack.client(stack.key("read", "submit", owner="stranger")) as stranger:
        for answer in (
            stranger.get(f"/api/v1/jobs/{job_id}"),
            stranger.post(f"/api/v1/jobs/{job_id}/cancel"),
            stranger.get(f"/api/v1/jobs/{uuid.uuid4()}"),
        ):
            assert answer.status_code == 404
            assert problem_of(answer)["detail"]
        assert stranger.get("/api/v1/jobs").json()["jobs"] == []
    with stack.client(stack.key("read", "operate", owner="operator")) as operator:
        assert operator.get(f"/api/v1/jobs/{job_id}").json()["owner"] == "default"


@pytest.mark.parametrize("job_id", ["x", "%00", "0", "..%2f", "a" * 3000, "é", "01980F5E-2D4C-7000-8000-000000000000"])
def test_an_impossible_id_is_404(client: httpx.Client, job_id: str) -> None:
    answer = client.get(f"/api/v1/jobs/{job_id}")
    assert answer.status_code == 404
    problem_of(answer)


def test_lists_page_by_page_newest_first(stack: Stack) -> None:
    with stack.client(stack.key("read", "submit", owner=f"lister-{uuid.uuid4().hex[:8]}")) as client:
        ids = [submit(client) for _ in range(5)]
        seen, cursor = [], None
        for _ in range(3):
            page = client.get("/api/v1/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            seen += [job["id"] for job in page["jobs"]]
            cursor = page["next_cursor"]
        assert seen == ids[::-1]
        assert cursor is None
        filtered = client.get("/api/v1/jobs", params={"status": "SUCCEEDED", "kind": "probe.fast"}).json()
        assert filtered["jobs"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=DONE", "status"),
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%00", "cursor"),
        ("kind=%00", "kind"),
    ],
)
def test_a_faulty_query_names_the_parameter(client: httpx.Client, query: str, field: str) -> None:
    assert fields_of(client.get(f"/api/v1/jobs?{query}")) == [field]


def test_cancels_once(client: httpx.Client) -> None:
    job_id = submit(client)
    first = client.post(f"/api/v1/jobs/{job_id}/cancel")
    again = client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert (first.status_code, again.status_code) == (200, 409)
    assert first.json()["was"] == "QUEUED"
    assert client.get(f"/api/v1/jobs/{job_id}").json()["status"] == "CANCELLED"
    assert "CANCELLED" in problem_of(again)["detail"]


def test_wrong_paths_and_methods_are_problems(client: httpx.Client) -> None:
    missing = client.get("/api/v1/nothing")
    assert missing.status_code == 404
    problem_of(missing)
    wrong = client.put("/api/v1/jobs", json={})
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["allow"]
    problem_of(wrong)
