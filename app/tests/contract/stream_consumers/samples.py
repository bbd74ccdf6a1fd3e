"""The samples as consumers under test: the naive loop and FastStream, each a process of its own."""

import asyncio
import sys
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tests.contract.stream_consumers import faststream_app, naive_loop, work
from tests.contract.stream_consumers.consumer import Consumer, NotOffered, plain_client
from tests.servers.process import ServerProcess, private_directory

APP_ROOT = Path(__file__).resolve().parents[3]


class SampleProcess(ServerProcess):
    """`python -m <module> <arguments>`; ready when it has made the file `ready`."""

    def __init__(self, name: str, folder: Path, module: str, *arguments: str) -> None:
        super().__init__(name, directory=private_directory(folder, f"process-{name}"), port=0)
        self._ready = folder / "ready"
        self._run = (sys.executable, "-m", module, *arguments)

    def start(self) -> None:
        self._ready.unlink(missing_ok=True)
        super().start()

    def command(self) -> Sequence[str]:
        return ("env", "-C", str(APP_ROOT), *self._run)

    def is_ready(self) -> bool:
        return self._ready.exists()


class Sample(Consumer):
    """What both have in common: the work is a file, and nobody but the consumer looks after it."""

    @abstractmethod
    def process(self, name: str) -> SampleProcess: ...

    def send_in_a_request(self, item: str) -> None:
        self.send([item])

    def send_again(self, item: str) -> None:
        self.send([item])

    @contextmanager
    def in_work(self, items: Sequence[str]) -> Iterator[None]:
        hold = self.folder / "hold"
        hold.touch()
        try:
            with self._taken():
                self.send(items)
            yield
        finally:
            hold.unlink()

    def begun(self) -> Counter[str]:
        return work.count(self.folder, "begun")

    def applied(self, *, with_sweeper: bool = False) -> Counter[str]:
        return work.count(self.folder, "applied")

    def lost_and_told(self, entry_ids: Sequence[str]) -> int:
        logs = "".join(process.log_path.read_text() for process in self._processes.values())
        return sum(entry_id in logs for entry_id in entry_ids)

    def set_aside(self) -> Collection[str]:
        return ()


class NaiveLoop(Sample):
    """See naive_loop."""

    stream, group = naive_loop.STREAM, naive_loop.GROUP

    def process(self, name: str) -> SampleProcess:
        return SampleProcess(name, self.folder, naive_loop.__name__, self.node.url, str(self.folder))

    def send(self, items: Sequence[str]) -> None:
        with plain_client(self.node) as client:
            for item in items:
                naive_loop.send(client, item)

    def send_at(self, item: str, due: datetime) -> None:
        with plain_client(self.node) as client:
            naive_loop.send(client, item, due)

    def backlog(self) -> list[int | None]:
        """The group's lag, as exporters show it: an unknown one as 0."""
        [group] = self.operator.xinfo_groups(self.stream)
        return [int(group["lag"] or 0)]


class FastStreamApp(Sample):
    """See faststream_app."""

    stream, group = faststream_app.STREAM, faststream_app.GROUP

    def process(self, name: str) -> SampleProcess:
        arguments = (self.node.url, str(self.folder), name, str(self.claim_idle_ms))
        return SampleProcess(name, self.folder, faststream_app.__name__, *arguments)

    def send(self, items: Sequence[str]) -> None:
        asyncio.run(faststream_app.send(self.node.url, list(items)))

    def send_at(self, item: str, due: datetime) -> None:
        raise NotOffered("work that begins later")

    def backlog(self) -> list[int | None]:
        raise NotOffered("a number for the backlog")
