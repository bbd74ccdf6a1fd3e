"""`.env.example`, the settings object and the compose files speak of the same variables."""

import os
import re
from pathlib import Path

import pytest

from project.env import Environment

REPOSITORY = Path(os.environ.get("HOLDFAST_REPOSITORY", Path(__file__).resolve().parents[3]))
COMPOSE_FILES = ("compose.yaml", "compose.sentinel.yaml")

#: Read by the application only inside a container, where compose sets it; no line in .env would reach it.
SET_BY_COMPOSE: set[str] = set()


def read(name: str) -> str:
    path = REPOSITORY / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing: mount the repository and set HOLDFAST_REPOSITORY")
        pytest.skip(f"{path} is not here: set HOLDFAST_REPOSITORY to the repository")
    return path.read_text(encoding="utf-8")


def example_names() -> set[str]:
    return set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", read(".env.example"), re.MULTILINE))


def compose_text() -> str:
    return "\n".join(read(name) for name in COMPOSE_FILES)


def interpolated_names() -> set[str]:
    return set(re.findall(r"\$\{([A-Z][A-Z0-9_]+)", compose_text()))


def secret_names() -> set[str]:
    """Secrets that compose mounts: a variable of `.env` in upper case, a file in lower case."""
    block = re.search(r"^secrets:.*?(?=^\S|\Z)", read("compose.yaml"), re.MULTILINE | re.DOTALL)
    assert block, "compose.yaml has no secrets block"
    return {name.upper() for name in re.findall(r"^ {2}([a-z_]+):", block[0], re.MULTILINE)}


def settings_names() -> set[str]:
    return {name.upper() for name in Environment.model_fields}


def test_every_setting_stands_in_the_example() -> None:
    assert settings_names() - SET_BY_COMPOSE <= example_names()


def test_every_variable_of_compose_stands_in_the_example() -> None:
    assert interpolated_names() <= example_names()


def test_every_example_is_read_by_somebody() -> None:
    scripts = "\n".join(path.read_text() for path in sorted((REPOSITORY / "scripts").rglob("*.py")))
    known = (
        settings_names()
        | interpolated_names()
        | secret_names()
        | {"POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_DB"}
    )
    unread = {name for name in example_names() - known if name not in scripts and name not in read("Makefile")}
    assert not unread


def test_compose_sets_only_settings_that_exist() -> None:
    application = re.search(r"^x-app-environment:.*?(?=^\S)", compose_text(), re.MULTILINE | re.DOTALL)
    assert application, "compose.yaml has no x-app-environment block"
    names = {
        name.removesuffix("_FILE") for name in re.findall(r"^ {2,4}([A-Z][A-Z0-9_]+):", application[0], re.MULTILINE)
    }
    outside = {"POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
    assert names - settings_names() - outside == set()


def test_the_defaults_in_the_example_are_the_defaults_in_code() -> None:
    shown = dict(re.findall(r"^# ([A-Z][A-Z0-9_]+)=(.+)$", read(".env.example"), re.MULTILINE))
    for name, field in Environment.model_fields.items():
        if (text := shown.get(name.upper())) is None or field.is_required():
            continue
        assert _spelled(field.default) == text, f"{name.upper()} differs between .env.example and project/env.py"


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
