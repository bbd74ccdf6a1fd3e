"""Size limits, pages without foreign assets, headers, the OpenAPI document."""

import re
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.web.conftest import Stack, problem_of
from tests.servers.web import API_KEY

HUGE = 2_000_000_000


def test_a_declared_length_past_the_limit_is_413(client: httpx.Client) -> None:
    answer = client.post("/api/v1/jobs", content=b" " * 3_000_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    problem_of(answer)


def test_a_streamed_body_past_the_limit_is_413(client: httpx.Client) -> None:
    def pieces() -> object:
        for _ in range(60):
            yield b" " * 50_000

    answer = client.post("/api/v1/jobs", content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    problem_of(answer)


def test_a_streamed_body_is_read(client: httpx.Client) -> None:
    def pieces() -> object:
        yield b'{"kind": "probe.fast", '
        yield b'"params": {"tag": "streamed"}, "force": true}'

    answer = client.post("/api/v1/jobs", content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 202


def test_a_two_gigabyte_upload_is_refused_from_its_header(stack: Stack) -> None:
    """Nothing of the body is sent: the answer must come from Content-Length alone."""
    request = (
        f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {HUGE}\r\n\r\n"
    )
    with socket.create_connection((stack.web.host, stack.web.port), timeout=120) as connection:
        connection.sendall(request.encode())
        assert b" 413 " in connection.recv(65536).split(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/api/docs", "/admin/login/"])
def test_no_page_loads_anything_from_another_host(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    links = re.findall(r"""(?:src|href|action)=["']([^"']+)["']""", page.text)
    assert links
    for link in links:
        assert not urlsplit(link).netloc, link
        if link.startswith("/static/"):
            assert client.get(link).status_code == 200, link
    assert not re.findall(r"<script(?![^>]*(src|application/json))", page.text)


def test_the_admin_shows_jobs_and_keys_without_secrets(stack: Stack) -> None:
    code = (
        "from django.contrib.auth.models import User; from django.test import Client;"
        "User.objects.filter(username='a').delete(); u = User.objects.create_superuser('a', '', 'long-enough-pw');"
        "c = Client(); c.force_login(u);"
        "pages = [c.get(p, HTTP_HOST='localhost') for p in"
        " ('/admin/', '/admin/jobs/job/', '/admin/jobs/apikey/', '/admin/jobs/apikey/testkey1/change/',"
        " '/admin/jobs/deadletter/', '/admin/jobs/schedule/', '/admin/jobs/job/add/', '/admin/jobs/apikey/add/')];"
        "print([p.status_code for p in pages]); print(b''.join(p.content for p in pages).decode())"
    )
    output = stack.web.manage("shell", "-v", "0", "-c", code)
    assert output.splitlines()[0] == "[200, 200, 200, 200, 200, 200, 403, 403]"
    assert "secret" not in output.lower()
    assert not re.search(r"[0-9a-f]{64}", output)
    assert not re.findall(r"""(?:src|href)=["']https?://""", output)


def test_the_document_declares_what_operations_answer(client: httpx.Client) -> None:
    document = client.get("/api/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    submit = document["paths"]["/api/v1/jobs"]["post"]
    assert {"202", "200", "401", "403", "409", "413", "422", "429", "503"} <= set(submit["responses"])
    assert set(submit["responses"]["422"]["content"]) == {"application/problem+json"}
    kinds = document["components"]["schemas"]["JobIn"]["discriminator"]["mapping"]
    assert {"probe.fast", "probe.cpu", "probe.io"} <= set(kinds)


def test_serves_numbers(client: httpx.Client) -> None:
    client.get("/api/v1/jobs")
    text = client.get("/metrics").text
    assert re.search(r'http_requests_total\{code="200",operation="list_jobs"\} \d+', text)
