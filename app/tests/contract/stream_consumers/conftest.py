"""Runs every trap with every consumer, and prints the table of consumers and traps at the end."""

import re
import sys
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

import redis_topology
from dispatch import testing as dispatch_testing
from jobs import admission
from tests.contract.stream_consumers import recorded
from tests.contract.stream_consumers.bridge import Bridge
from tests.contract.stream_consumers.consumer import RECORDED_PATIENCE_SECONDS, Consumer, NotOffered
from tests.contract.stream_consumers.samples import FastStreamApp, NaiveLoop, Sample
from tests.integration.jobs.conftest import transactional_db as transactional_db  # a fixture here, too
from tests.servers.plugin import Servers
from tests.servers.postgres import PostgresProcess
from tests.servers.process import free_port, private_directory
from tests.servers.redis_server import RedisProcess


@dataclass(frozen=True)
class Candidate:
    """A column of the table."""

    label: str
    server: str  #: the program that serves the stream
    kind: type[Sample] | None  #: None: our bridge
    falls_into: Mapping[int, str]

    @property
    def id(self) -> str:
        return self.label.replace(" ", "-")


CANDIDATES = (
    Candidate("bridge on Redis", "redis-server", None, {}),
    Candidate("bridge on Valkey", "valkey-server", None, {}),
    Candidate("naive loop", "redis-server", NaiveLoop, recorded.NAIVE_LOOP),
    Candidate(f"FastStream {version('faststream')}", "redis-server", FastStreamApp, recorded.FASTSTREAM),
)


def trap_of(test_name: str) -> int:
    """4 of `test_trap_04_…`."""
    found = re.match(r"test_trap_(\d+)_", test_name)
    assert found, f"{test_name} names no trap"
    return int(found[1])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "consumer" not in metafunc.fixturenames:
        return
    trap = trap_of(metafunc.function.__name__)
    metafunc.parametrize("consumer", [_parameter(one, trap) for one in CANDIDATES], indirect=True)


def _parameter(candidate: Candidate, trap: int) -> object:
    marks = [] if candidate.kind is None else [pytest.mark.sample]
    if reason := candidate.falls_into.get(trap):
        # Only a broken promise is expected: a test that could not make its situation fails.
        marks.append(pytest.mark.xfail(raises=AssertionError, strict=True, reason=reason))
    return pytest.param(candidate, id=candidate.id, marks=marks)


# -- one consumer -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def nodes(servers: Servers) -> Iterator[dict[str, RedisProcess]]:
    """A node of each server program, by its name."""
    parent = private_directory(servers.parent, "traps")
    made = {
        name: RedisProcess(parent=parent, port=free_port(), name=name, binary=name)
        for name in {candidate.server for candidate in CANDIDATES}
    }
    for node in made.values():
        node.start()
    yield made
    for node in made.values():
        node.stop()


@pytest.fixture
def consumer(
    request: pytest.FixtureRequest, nodes: dict[str, RedisProcess], tmp_path: Path, transactional_db: None
) -> Iterator[Consumer]:
    """The candidate, not started, on an empty node."""
    candidate: Candidate = request.param
    node = nodes[candidate.server]
    node.flush()
    tmp_path.chmod(0o755)
    with _made(candidate, node, private_directory(tmp_path, "consumer"), request) as made:
        if trap_of(request.function.__name__) in candidate.falls_into:
            made.patience = RECORDED_PATIENCE_SECONDS
        try:
            yield made
        finally:
            node.thaw()
            sys.stdout.write(made.logs())
            made.stop()
            assert node.denied() == []


@contextmanager
def _made(candidate: Candidate, node: RedisProcess, folder: Path, request: pytest.FixtureRequest) -> Iterator[Consumer]:
    if candidate.kind is not None:
        yield candidate.kind(node, folder)
        return
    settings: Settings = request.getfixturevalue("settings")
    postgres: PostgresProcess = request.getfixturevalue("postgres")
    settings.REDIS_TOPOLOGY = redis_topology.parse(node.url)
    settings.HOLDFAST = django_settings.HOLDFAST.model_copy(update={"ndvi_queue_backend": "stream"})
    _forget()
    try:
        yield Bridge(node, folder, postgres)
    finally:
        _forget()


def _forget() -> None:
    """No connection, and no opinion about the pools, of another test."""
    dispatch_testing.reset()
    admission.forget()


# -- the table --------------------------------------------------------------------------------------------------------
#: Test and candidate of a test's id.
_CELL = re.compile(r"::(test_trap_\w+)\[(.+)\]$")

#: test -> id of a candidate -> verdict
_results: defaultdict[str, dict[str, str]] = defaultdict(dict)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None]:
    """What a consumer does not offer cannot go wrong: a skip for the samples. The bridge offers everything."""
    try:
        return (yield)
    except NotOffered as absent:
        if item.callspec.params["consumer"].kind is None:
            raise
        pytest.skip(f"offers no {absent}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Called where the table is printed, wherever the test ran."""
    if (cell := _CELL.search(report.nodeid)) and (report.when == "call" or report.failed):
        _results[cell[1]][cell[2]] = _verdict(report)


def _verdict(report: pytest.TestReport) -> str:
    if report.failed:
        return "FAILED"
    if report.skipped:
        return "falls in" if hasattr(report, "wasxfail") else "-"
    return "ok"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _results:
        return
    terminalreporter.section("eighteen traps of stream consumers")
    terminalreporter.write_line(f"{'':62}" + "  ".join(one.label for one in CANDIDATES))
    for test, verdicts in sorted(_results.items()):
        sentence = test.removeprefix("test_trap_").replace("_", " ")
        cells = "  ".join(f"{verdicts.get(one.id, ''):{len(one.label)}}" for one in CANDIDATES)
        terminalreporter.write_line(f"{sentence:62}{cells}".rstrip())
    for candidate in CANDIDATES:
        for trap, reason in sorted(candidate.falls_into.items()):
            terminalreporter.write_line(f"{candidate.label}, {trap:02}: {reason}")
    terminalreporter.write_line("falls in: recorded, and seen again in this run; -: the consumer offers nothing here")
