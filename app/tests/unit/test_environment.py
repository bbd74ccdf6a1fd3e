"""The environment reports every problem at once and gives away no secret."""

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest

from project.env import Deployment, EnvironmentInvalid, QueueBackend, load

GOOD = {
    "DJANGO_SECRET_KEY": "k" * 40,
    "DATABASE_URL": "postgresql://app:secret@postgres:5432/holdfast",
    "REDIS_URL": "redis://redis-1:6379/0",
}


def report(environ: dict[str, str]) -> str:
    with pytest.raises(EnvironmentInvalid) as caught:
        load(environ)
    return str(caught.value)


def test_loads_with_the_least_that_is_needed() -> None:
    environment = load(GOOD)
    assert environment.holdfast_environment is Deployment.PRODUCTION
    assert environment.ndvi_queue_backend is QueueBackend.CELERY


def test_names_ten_wrong_variables_at_once() -> None:
    wrong = {
        "DJANGO_SECRET_KEY": "short",
        "REDIS_URL": "redis-sentinel://s1:26379/holdfast/0",
        "NDVI_QUEUE_BACKEND": "rabbit",
        "DISPATCH_WINDOW": "many",
        "NDVI_STREAM_BATCH_SIZE": "0",
        "LOG_LEVEL": "LOUD",
        "RETENTION_DAYS": "-1",
        "WEB_THREADS": "1",
        "NDVI_UPSTREAM_URL": "ftp://scenes",
    }
    text = report(wrong)
    assert text.startswith("10 problem(s)")
    for name in [*wrong, "DATABASE_URL"]:
        assert f"- {name}:" in text, f"{name} is not in the report:\n{text}"


def test_a_wrong_scheme_names_the_right_one() -> None:
    assert "redis+sentinel://" in report(GOOD | {"REDIS_URL": "redis-sentinel://s1:26379/holdfast/0"})


def test_a_report_never_shows_a_secret() -> None:
    text = report(GOOD | {"DJANGO_SECRET_KEY": "tooshort-sesame", "REDIS_URL": "http://app:open-sesame@redis"})
    assert "sesame" not in text


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("f" * 40 + "\n")
    environ = {name: value for name, value in GOOD.items() if name != "DJANGO_SECRET_KEY"}
    environment = load(environ | {"DJANGO_SECRET_KEY_FILE": str(secret)})
    assert environment.django_secret_key.get_secret_value() == "f" * 40


def test_a_missing_secret_file_names_the_command_that_writes_it() -> None:
    environ = {name: value for name, value in GOOD.items() if name != "DJANGO_SECRET_KEY"}
    text = report(environ | {"DJANGO_SECRET_KEY_FILE": "/nonexistent/key"})
    assert "DJANGO_SECRET_KEY_FILE" in text
    assert "make up" in text


def test_a_value_and_its_file_together_are_refused() -> None:
    assert "not both" in report(GOOD | {"DJANGO_SECRET_KEY_FILE": "/run/secrets/django_secret_key"})


def test_the_database_url_is_composed_from_its_parts() -> None:
    environ = {name: value for name, value in GOOD.items() if name != "DATABASE_URL"}
    parts = {"POSTGRES_HOST": "db", "POSTGRES_USER": "u", "POSTGRES_PASSWORD": "a/b@c", "POSTGRES_DB": "n"}
    assert load(environ | parts).database_url.get_secret_value() == "postgresql://u:a%2Fb%40c@db:5432/n"


def test_placeholders_are_refused_outside_tests() -> None:
    placeholder = "change-me-" * 4
    assert "placeholder" in report(GOOD | {"DJANGO_SECRET_KEY": placeholder})
    loaded = load(GOOD | {"DJANGO_SECRET_KEY": placeholder, "HOLDFAST_ENVIRONMENT": "test"})
    assert loaded.holdfast_environment is Deployment.TEST


def test_rows_are_kept_at_least_as_long_as_their_results() -> None:
    assert "DEDUP_DAYS" in report(GOOD | {"RETENTION_DAYS": "60", "DEDUP_DAYS": "30"})


WHSEC = "whsec_" + base64.b64encode(b"x" * 32).decode()


def test_reads_the_networks_that_webhooks_may_reach() -> None:
    environment = load(GOOD | {"WEBHOOK_ALLOW_CIDRS": "10.20.0.0/16, fd00::/8", "WEBHOOK_SECRET": WHSEC})
    assert environment.webhook_allow_cidrs == (ip_network("10.20.0.0/16"), ip_network("fd00::/8"))
    assert environment.webhook_secret is not None
    closed = load(GOOD | {"WEBHOOK_ALLOW_CIDRS": "", "WEBHOOK_SECRET": ""})
    assert (closed.webhook_allow_cidrs, closed.webhook_secret) == ((), None)


@pytest.mark.parametrize("networks", ["10.20.0.1/16", "10.20", "anywhere", "10.0.0.0/8;fd00::/8"])
def test_names_a_network_that_is_none(networks: str) -> None:
    assert "- WEBHOOK_ALLOW_CIDRS:" in report(GOOD | {"WEBHOOK_ALLOW_CIDRS": networks})


@pytest.mark.parametrize("secret", ["in-the-clear", "whsec_c2hvcnQ=", WHSEC.removeprefix("whsec_"), WHSEC + "!"])
def test_names_a_webhook_secret_of_another_form_and_does_not_show_it(secret: str) -> None:
    text = report(GOOD | {"WEBHOOK_SECRET": secret})
    assert "- WEBHOOK_SECRET: is not whsec_" in text
    assert secret not in text


def test_the_pool_has_a_connection_for_each_request_thread() -> None:
    text = report(GOOD | {"WEB_THREADS": "24", "DATABASE_POOL_SIZE": "24"})
    assert "DATABASE_POOL_SIZE (24)" in text
    assert "WEB_THREADS (24)" in text
    assert load(GOOD | {"WEB_THREADS": "23", "DATABASE_POOL_SIZE": "24"}).web_threads == 23
