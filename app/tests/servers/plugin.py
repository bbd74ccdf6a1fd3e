"""The pytest side of the servers: the environment that Django reads, and the fixtures.

Loaded with `-p tests.servers.plugin` before pytest-django reads the settings. Ports are chosen and the environment is
set at once; the servers themselves start when the first test needs them. Tests below `tests/unit` and tests marked
`no_servers` never start one.
"""

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.servers import acl
from tests.servers.postgres import PostgresProcess
from tests.servers.process import BinaryMissing, ServerProcess, free_ports
from tests.servers.redis_server import RedisProcess
from tests.servers.sentinel import SentinelTopology

#: Set to valkey-server to run the whole suite over Valkey.
BINARY_VARIABLE = "HOLDFAST_TEST_REDIS_SERVER"

TESTS = Path(__file__).resolve().parents[1]


class Servers:
    """The session's Postgres and Redis: known ports from the start, processes on demand."""

    def __init__(self, parent: Path) -> None:
        postgres_port, redis_port = free_ports(2)
        self.parent = parent
        self.binary = os.environ.get(BINARY_VARIABLE, "redis-server")
        self.postgres = PostgresProcess(parent=parent, port=postgres_port, password="test-postgres-p@ss")
        self.redis = RedisProcess(parent=parent, port=redis_port, binary=self.binary)
        self.sentinel: SentinelTopology | None = None

    def environment(self) -> dict[str, str]:
        """What the application reads under test; see project/env.py."""
        return {
            "HOLDFAST_ENVIRONMENT": "test",
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DJANGO_SECRET_KEY": "test-secret-key-that-is-long-enough-for-django-0123456789",
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.bare_url,
            "REDIS_PASSWORD": acl.PASSWORDS["app"],
            "FILES_DIR": str(self._folder("files")),
            "SCRATCH_DIR": str(self._folder("scratch")),
            "STATIC_DIR": str(self._folder("static")),
            "HEARTBEAT_FILE": str(self.parent / "heartbeat"),
            "HOLDFAST_FAULTS": "1",
            # Many times the defaults: tests run beside other work, and what they show is not how soon Redis or Postgres
            # answers. A test of a deadline sets its own.
            "DISPATCH_BUDGET_MS": "2000",
            "DATABASE_LOOP_SECONDS": "20",
            "DATABASE_REQUEST_SECONDS": "6",
            "LOG_FORMAT": "console",
        }

    def stop(self) -> None:
        for server in (self.sentinel, self.redis, self.postgres):
            if server is not None:
                server.stop()

    def _folder(self, name: str) -> Path:
        folder = self.parent / name
        folder.mkdir(exist_ok=True)
        return folder


SERVERS: pytest.StashKey[Servers] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """A wrapper runs before pytest-django's own hook, which imports the settings."""
    directory = tempfile.TemporaryDirectory(prefix="holdfast-tests-", ignore_cleanup_errors=True)
    early_config.add_cleanup(directory.cleanup)
    parent = Path(directory.name)
    parent.chmod(0o755)  # the servers run as another user when we are root
    servers = Servers(parent)
    os.environ.update(servers.environment())
    early_config.stash[SERVERS] = servers
    early_config.add_cleanup(servers.stop)  # the last cleanup added runs first
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "no_servers: the test neither needs nor starts Postgres and Redis")
    config.addinivalue_line("markers", "keep_redis: Redis is not emptied before this test")


def _started[S: (ServerProcess, SentinelTopology)](server: S) -> S:
    """Start it now. A missing program fails in CI and skips elsewhere."""
    try:
        server.start()
    except BinaryMissing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    return server


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Servers:
    """The holder of the session's servers; starts nothing."""
    return request.config.stash[SERVERS]


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> PostgresProcess:
    """The session's Postgres, running. A test that kills or freezes it must restart or thaw it."""
    return _started(servers.postgres)


@pytest.fixture(scope="session")
def redis_server(servers: Servers) -> RedisProcess:
    """The session's Redis, running. A test that kills or freezes it must restart or thaw it."""
    return _started(servers.redis)


@pytest.fixture(scope="session")
def sentinel_session(servers: Servers) -> SentinelTopology:
    """The session's Sentinel topology; ask for `sentinel` instead, which heals and empties it."""
    if servers.sentinel is None:
        servers.sentinel = SentinelTopology(parent=servers.parent, binary=servers.binary)
    return _started(servers.sentinel)


@pytest.fixture
def sentinel(sentinel_session: SentinelTopology) -> Iterator[SentinelTopology]:
    """Three Redis and three Sentinels, whole and empty; whatever the test breaks is mended afterwards."""
    sentinel_session.flush()
    yield sentinel_session
    sentinel_session.heal()


@pytest.fixture
def redis_factory(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator["RedisFactory"]:
    """Start a Redis of one's own: `redis_factory(maxmemory="8mb")`; stopped after the test."""
    with tempfile.TemporaryDirectory(prefix="holdfast-own-", dir=servers.parent) as name:
        parent = Path(name)
        parent.chmod(0o755)
        factory = RedisFactory(parent, servers.binary)
        yield factory
        factory.stop()


class RedisFactory:
    """Makes running RedisProcess nodes with their own settings (underscores stand for hyphens)."""

    def __init__(self, parent: Path, binary: str) -> None:
        self._parent = parent
        self._binary = binary
        self._made: list[RedisProcess] = []

    def __call__(self, *, binary: str | None = None, **settings: str) -> RedisProcess:
        node = RedisProcess(
            parent=self._parent,
            port=free_ports(1)[0],
            name=f"redis-own-{len(self._made) + 1}",
            binary=binary or self._binary,
            settings={name.replace("_", "-"): value for name, value in settings.items()},
        )
        self._made.append(node)
        return _started(node)

    def stop(self) -> None:
        for node in self._made:
            node.stop()


@pytest.fixture(autouse=True)
def _with_servers(request: pytest.FixtureRequest) -> None:
    """Everything but unit tests gets a running Postgres and an empty, running Redis."""
    if _needs_no_servers(request.node):
        return
    request.getfixturevalue("postgres")
    redis_server: RedisProcess = request.getfixturevalue("redis_server")
    if not redis_server.running:
        redis_server.start()
    if request.node.get_closest_marker("keep_redis") is None:
        redis_server.flush()


def _needs_no_servers(node: pytest.Item) -> bool:
    below_tests = node.path.relative_to(TESTS).parts if node.path.is_relative_to(TESTS) else ()
    return below_tests[:1] == ("unit",) or node.get_closest_marker("no_servers") is not None
