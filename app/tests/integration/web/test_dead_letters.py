"""Dead letters over HTTP: filters, owners, scopes, replay of one and of many, dry run, the row that says who."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.integration.web.conftest import Stack, fields_of, problem_of

LETTERS = "/api/v1/dead-letters"


class Account:
    """An owner with dead jobs. No worker runs here: jobs die by a statement, whole and as the application writes it."""

    def __init__(self, stack: Stack, *scopes: str) -> None:
        self.owner = f"owner-{uuid.uuid4().hex[:8]}"
        self.client = stack.client(stack.key(*(scopes or ("read", "submit")), owner=self.owner))
        self._stack = stack

    def dead(self, *, kind: str = "probe.fast", reason: str = "permanent", **params: object) -> str:
        body = {"kind": kind, "params": {"tag": uuid.uuid4().hex, **params}}
        job_id: str = self.client.post("/api/v1/jobs", json=body).json()["id"]
        with self._stack.postgres.connect() as connection:
            connection.execute(
                "UPDATE job SET state = 'FAILED', attempt = 1, lease_token = 2, finished_at = now() WHERE id = %s",
                [job_id],
            )
            connection.execute(
                "INSERT INTO dead_letter (id, job_id, owner, kind, pool, reason, original_id, payload, accepted_at)"
                " SELECT id, id, owner, kind, pool, %s, id::text, jsonb_build_object('params', params), accepted_at"
                " FROM job WHERE id = %s",
                [reason, job_id],
            )
        return job_id

    def listed(self, **query: object) -> list[str]:
        answer = self.client.get(LETTERS, params={name: str(value) for name, value in query.items()})
        assert answer.status_code == 200, answer.text
        return [letter["id"] for letter in answer.json()["dead_letters"]]

    def replay_all(self, **body: object) -> dict[str, Any]:
        answer = self.client.post(f"{LETTERS}/replay", json={"filter": {}, **body})
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


@pytest.fixture
def ada(stack: Stack) -> Iterator[Account]:
    account = Account(stack)
    with account.client:
        yield account


def test_lists_by_kind_reason_pool_time_and_fate(ada: Account) -> None:
    fast, io = ada.dead(), ada.dead(kind="probe.io", reason="poison")
    assert ada.listed() == [io, fast]
    assert ada.listed(kind="probe.io") == ada.listed(reason="poison") == ada.listed(pool="io") == [io]
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    assert ada.listed(since=(now - hour).isoformat(), until=(now + hour).isoformat()) == [io, fast]
    assert ada.listed(since=(now + hour).isoformat()) == ada.listed(until=(now - hour).isoformat()) == []
    assert ada.client.post(f"{LETTERS}/{io}/replay").status_code == 202
    assert (ada.listed(replayed="true"), ada.listed(replayed="false")) == ([io], [fast])
    page = ada.client.get(LETTERS, params={"limit": 1}).json()
    assert ada.listed(limit=1, cursor=page["next_cursor"]) == [fast]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("reason=bad_luck", "reason"),
        ("pool=gpu", "pool"),
        ("kind=%00", "kind"),
        ("since=yesterday", "since"),
        ("until=2026-05-01T06:00:00", "until"),
        ("since=2026-05-02T00:00:00Z&until=2026-05-01T00:00:00Z", "until"),
        ("replayed=perhaps", "replayed"),
        ("cursor=x", "cursor"),
    ],
)
def test_a_faulty_filter_names_the_parameter(client: httpx.Client, query: str, field: str) -> None:
    assert fields_of(client.get(f"{LETTERS}?{query}")) == [field]


def test_one_letter_is_read_and_replayed_once(ada: Account) -> None:
    letter_id = ada.dead(work_ms=7)
    letter = ada.client.get(f"{LETTERS}/{letter_id}").json()
    assert (letter["job_id"], letter["reason"], letter["payload"]["params"]["work_ms"]) == (letter_id, "permanent", 7)
    first, second = (ada.client.post(f"{LETTERS}/{letter_id}/replay") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    job = ada.client.get(f"/api/v1/jobs/{first.json()['id']}").json()
    assert job["replay_of"] == letter_id
    letter = ada.client.get(f"{LETTERS}/{letter_id}").json()
    assert (letter["replayed_as"], letter["replayed_by"]) == (job["id"], ada.owner)
    same = {"kind": "probe.fast", "params": job["params"]}
    answer = ada.client.post("/api/v1/jobs", json=same)
    assert (answer.status_code, answer.json()["id"]) == (200, job["id"])


def test_others_see_their_own_and_operate_sees_all(stack: Stack, ada: Account) -> None:
    letter_id = ada.dead()
    stranger, operator = Account(stack), Account(stack, "operate")
    with stranger.client, operator.client:
        assert stranger.listed() == []
        for answer in (
            stranger.client.get(f"{LETTERS}/{letter_id}"),
            stranger.client.post(f"{LETTERS}/{letter_id}/replay"),
            stranger.client.get(f"{LETTERS}/x"),
        ):
            assert answer.status_code == 404
            assert problem_of(answer)["detail"]
        assert stranger.replay_all()["matched"] == 0
        assert letter_id in operator.listed()
        assert operator.client.post(f"{LETTERS}/{letter_id}/replay").status_code == 202


def test_scopes(stack: Stack, ada: Account) -> None:
    letter_id = ada.dead()
    with stack.client(stack.key("read", owner=ada.owner)) as reader:
        assert reader.get(LETTERS).status_code == 200
        for answer in (
            reader.post(f"{LETTERS}/{letter_id}/replay"),
            reader.post(f"{LETTERS}/replay", json={"filter": {}}),
        ):
            assert answer.status_code == 403
            assert "'submit' or 'operate'" in problem_of(answer)["detail"]
    with stack.client(stack.key("submit", owner=ada.owner)) as writer:
        assert writer.get(LETTERS).status_code == 403


def test_bulk_rehearses_replays_and_says_who(stack: Stack, ada: Account) -> None:
    ids = [ada.dead() for _ in range(3)]
    other = ada.dead(kind="probe.io")
    rehearsed = ada.replay_all(filter={"kind": "probe.fast"}, dry_run=True)
    assert [rehearsed[name] for name in ("dry_run", "matched", "created")] == [True, 3, 3]
    assert ada.listed(replayed="true") == []
    first = ada.replay_all(filter={"kind": "probe.fast"}, rate=2, limit=2)
    assert [first[name] for name in ("matched", "created", "joined", "refused", "refusals")] == [2, 2, 0, 0, []]
    second = ada.replay_all(filter={"kind": "probe.fast"}, rate=2, limit=2, cursor=first["next_cursor"])
    assert (second["matched"], second["next_cursor"]) == (1, None)
    assert set(ada.listed(replayed="true")) == set(ids)
    assert ada.listed(replayed="false") == [other]
    starts = sorted(
        datetime.fromisoformat(job["not_before"])
        for job in (ada.client.get(f"/api/v1/jobs/{item}").json() for item in replayed_as(ada, ids))
    )
    assert 0.9 < (starts[-1] - starts[0]).total_seconds() < 1.1
    with stack.postgres.connect() as connection:
        rows = connection.execute(
            "SELECT key_id <> '', filter, dry_run, matched, created FROM replay_audit WHERE actor = %s ORDER BY id",
            [ada.owner],
        ).fetchall()
    assert rows == [(True, {"kind": "probe.fast"}, dry, n, n) for dry, n in ((True, 3), (False, 2), (False, 1))]


def replayed_as(account: Account, ids: list[str]) -> list[str]:
    return [account.client.get(f"{LETTERS}/{letter_id}").json()["replayed_as"] for letter_id in ids]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filter"),
        ({"filter": {"reason": "bad_luck"}}, "filter.reason"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"since": "2026-05-01T06:00:00"}}, "filter.since"),
        ({"filter": {}, "rate": 0}, "rate"),
        ({"filter": {}, "rate": 1e300}, "rate"),
        ({"filter": {}, "limit": 1001}, "limit"),
        ({"filter": {}, "dry_run": "yes"}, "dry_run"),
        ({"filter": {}, "cursor": "x"}, "cursor"),
        ({"filter": {}, "drop": True}, "drop"),
    ],
)
def test_a_faulty_bulk_names_the_field(client: httpx.Client, body: dict[str, object], field: str) -> None:
    assert fields_of(client.post(f"{LETTERS}/replay", json=body)) == [field]


def test_the_document_describes_them(client: httpx.Client) -> None:
    document = json.loads(client.get("/api/openapi.json").text)
    found = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert {"list_dead_letters", "get_dead_letter", "replay_dead_letter", "replay_dead_letters"} <= found
