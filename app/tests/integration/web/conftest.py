"""A whole web service with a Postgres of its own, which its tests may freeze and kill."""

import hashlib
import json
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.plugin import Servers
from tests.servers.postgres import PostgresProcess
from tests.servers.process import free_ports
from tests.servers.redis_server import RedisProcess
from tests.servers.waiting import wait_until
from tests.servers.web import API_KEY, WebProcess


@dataclass
class Stack:
    """A running web service and what it stands on."""

    web: WebProcess
    postgres: PostgresProcess
    redis: RedisProcess

    def client(self, key: str | None = API_KEY) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        hooks = {"response": [self._explain_500]}
        return httpx.Client(base_url=self.web.url, headers=headers, timeout=120, event_hooks=hooks)

    def _explain_500(self, answer: httpx.Response) -> None:
        assert answer.status_code != 500, self.web.log_tail(3)

    def key(self, *scopes: str, owner: str = "default", rate_limit: int | None = None) -> str:
        """A new key's text. Written to the table: `manage.py create_api_key` takes seconds on a busy machine."""
        key_id, secret = secrets.token_hex(4), secrets.token_hex(32)
        with self.postgres.connect() as connection:
            connection.execute(
                "INSERT INTO api_key (id, secret_sha256, owner, scopes, rate_limit, note, created_at)"
                " VALUES (%s, %s, %s, %s, %s, '', now())",
                [key_id, hashlib.sha256(secret.encode()).hexdigest(), owner, list(scopes), rate_limit],
            )
        return f"hf_{key_id}_{secret}"


@pytest.fixture(scope="session")
def stack_factory(servers: Servers) -> Iterator[Callable[..., Stack]]:
    with tempfile.TemporaryDirectory(prefix="holdfast-web-", ignore_cleanup_errors=True) as name:
        parent = Path(name)
        parent.chmod(0o755)
        made: list[Stack] = []

        def make(**environment: str) -> Stack:
            folder = parent / str(len(made))
            folder.mkdir(mode=0o755)
            stack = _start(folder, servers, environment)
            made.append(stack)
            return stack

        yield make
        for stack in made:
            stack.postgres.thaw()
            for server in (stack.web, stack.redis, stack.postgres):
                server.stop()


def _start(folder: Path, servers: Servers, environment: dict[str, str]) -> Stack:
    postgres_port, redis_port, web_port = free_ports(3)
    postgres = PostgresProcess(parent=folder, port=postgres_port, password="secret")
    redis = RedisProcess(parent=folder, port=redis_port, binary=servers.binary)
    postgres.start()
    redis.start()
    settings = {
        **servers.environment(),
        "DATABASE_URL": postgres.url,
        "REDIS_URL": redis.bare_url,
        "LOG_FORMAT": "json",
    }
    web = WebProcess(parent=folder, port=web_port, environment={**settings, **environment})
    web.prepare()
    web.start()
    return Stack(web, postgres, redis)


@pytest.fixture(scope="session")
def session_stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory(DOMAIN_APPS="")  # the platform serves without the example domain


@pytest.fixture
def stack(session_stack: Stack) -> Iterator[Stack]:
    """The session's web service; whatever the test freezes or kills is mended afterwards."""
    yield session_stack
    for server in (session_stack.postgres, session_stack.redis):
        server.thaw()
        if not server.running:
            server.start()
    with session_stack.client() as client:
        _await_ready(client)


def _await_ready(client: httpx.Client) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the web service did not become ready again")


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """Speaks with the first key: owner `default`, every scope."""
    with stack.client() as client:
        yield client


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    """The problem document of an answer; checks its form."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document: dict[str, Any] = json.loads(answer.text)
    assert document["status"] == answer.status_code
    assert document["title"]
    return document


def fields_of(answer: httpx.Response) -> list[str]:
    """The faulty fields that a 422 names."""
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in problem_of(answer)["errors"]]
