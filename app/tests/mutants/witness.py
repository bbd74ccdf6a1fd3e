"""A pytest plugin that writes down what each check said: `-p tests.mutants.witness --witness=FILE`, JSON Lines.

The first line of a process names the tree whose code it loaded. A check fails in its call; whatever fails before or
after it is an error.
"""

import importlib.util
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

#: A shorter story of what is known to be broken is worth no time.
settings.register_profile("unshortened", phases=[Phase.explicit, Phase.generate])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--witness", required=True, help="file to append to")


def pytest_sessionstart(session: pytest.Session) -> None:
    found = importlib.util.find_spec("jobs")
    assert found is not None
    assert found.origin is not None
    _write(session.config, {"app": str(Path(found.origin).parents[1])})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or not report.passed:
        _write(item.config, {"check": item.nodeid, "when": report.when, "outcome": report.outcome, **_said(call)})
    return report


def _said(call: pytest.CallInfo[None]) -> dict[str, Any]:
    if call.excinfo is None:
        return {}
    names = [kind.__name__ for kind in call.excinfo.type.__mro__]
    return {"error": names, "said": str(call.excinfo.value).partition("\n")[0]}


def _write(config: pytest.Config, line: dict[str, Any]) -> None:
    with Path(config.getoption("--witness")).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
