"""A Celery app that has nothing of Holdfast but a `broker_url` and three lines follows its primary, too."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import redis_topology
from tests.celery_probe import configured
from tests.servers.bare_worker import BareWorkerProcess
from tests.servers.plugin import Servers
from tests.servers.sentinel import SentinelTopology
from tests.servers.waiting import DidNotHappen, wait_until

pytestmark = pytest.mark.timeout(900)

#: Seconds in which the stock worker shows that it does not come back; without a bound it stands for ever.
STOCK_SECONDS = 12.0
OURS_SECONDS = 180.0

_STANDS = pytest.mark.xfail(strict=True, raises=DidNotHappen, reason="kombu's own connections wait for ever")


@pytest.fixture
def worker(servers: Servers, sentinel: SentinelTopology, follows: bool) -> Iterator[BareWorkerProcess]:
    with tempfile.TemporaryDirectory(prefix="holdfast-bare-", dir=servers.parent, ignore_cleanup_errors=True) as name:
        parent = Path(name)
        parent.chmod(0o755)
        made = BareWorkerProcess(sentinel, parent=parent, follows=follows)
        try:
            made.start()
            yield made
        finally:
            made.kill()


def send(sentinel: SentinelTopology, number: int) -> None:
    """Over a connection of its own, which finds whoever leads now."""
    app = configured(redis_topology.parse(sentinel.url))
    with app.connection_for_write() as own:  # kombu's pool is the process's, and outlives the app
        app.send_task("bare.note", args=(number,), queue="celery", ignore_result=True, connection=own)
    app.close()


def await_noted(worker: BareWorkerProcess, number: int, *, seconds: float) -> None:
    wait_until(
        lambda: str(number) in worker.notes.read_text().split(),
        f"the bare worker did not do task {number}:\n{worker.log_tail(20)}",
        seconds=seconds,
        every=0.1,
    )


@pytest.mark.parametrize(
    "follows", [pytest.param(False, id="stock", marks=_STANDS), pytest.param(True, id="three-lines")]
)
def test_a_bare_worker_follows_from_a_frozen_primary(
    sentinel: SentinelTopology, worker: BareWorkerProcess, follows: bool
) -> None:
    send(sentinel, 1)
    try:
        await_noted(worker, 1, seconds=OURS_SECONDS)
    except DidNotHappen as error:
        pytest.fail(f"no bare worker to begin with: {error}")
    old = sentinel.primary
    old.freeze()
    sentinel.await_new_primary(old)
    send(sentinel, 2)
    await_noted(worker, 2, seconds=OURS_SECONDS if follows else STOCK_SECONDS)
