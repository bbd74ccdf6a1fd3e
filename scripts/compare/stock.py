"""One fault against the stock app: its worker, its client, what they wrote down, and what that says.

The client is a web application's eight threads. A second sender connects anew for each task, so that a worker that has
recovered finds work whatever became of the client.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.compare import throwaway
from scripts.failover.timeline import SentinelEvents, Timeline
from scripts.stack import console, processes
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import PRIMARY_NAME, REDIS, SENTINEL_PORT, SENTINELS, RedisNodes
from scripts.stack.waiting import wait_until

#: Seconds of load before the fault, for which is watched after it, and after its healing.
LEAD_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 60.0
TAIL_SECONDS: Final = 15.0
#: Seconds without trouble after which the watch may end early: the worker is back, and nothing waits.
CALM_SECONDS: Final = 15.0
#: Seconds without an end of any task after which the rest counts as never run.
STILL_SECONDS: Final = 10.0
START_SECONDS: Final = 60.0
THREADS: Final = 8
PROCESSES: Final = 8

#: Numbers of the second sender, as app/tests/stock/stock_client.py counts.
_FIRST_SPARE: Final = 1_000_000

FAULTS: Final = {"kill": Containers.kill, "freeze": Containers.pause}


@dataclass(frozen=True)
class Sent:
    """One call of the client. Unix times."""

    number: int
    due: float
    ended: float | None  #: None = it never came back
    outcome: str  #: "ok", or the exception's name; "begun" when it never came back


@dataclass(frozen=True)
class StockFigures:
    """Of one run. Seconds since the fault; None = not while it was watched."""

    settings: str
    switched: float | None
    recovered: float | None  #: first task done that was sent after the switch
    calls: int  #: of the client, due between fault and healing
    calls_ok: int
    calls_hung: int  #: without an answer until the healing, those behind a call that hangs included
    refusals: Counter[str]
    slowest: float
    accepted: int  #: in the whole run, by both senders
    never_ran: int
    ran_twice: int

    @property
    def after_switch(self) -> float | None:
        return None if self.recovered is None or self.switched is None else max(0.0, self.recovered - self.switched)


def run(stack: Stack, image: str, *, settings: str, fault: str, rate: float) -> StockFigures:
    """Breaks the primary of a whole throw-away project, heals it, and counts. Raises StackError."""
    nodes, containers, timeline = RedisNodes(stack), Containers(stack.project), Timeline()
    primary = nodes.elected()
    with tempfile.TemporaryDirectory(prefix="holdfast-stock-") as name, _app(stack, image, settings, Path(name)) as app:
        results = Path(name)
        app.start(rate)
        ears = SentinelEvents(nodes, timeline)
        ears.start()
        try:
            wait_until(lambda: _done(results), within=START_SECONDS, otherwise="the stock worker does no task")
            time.sleep(LEAD_SECONDS)
            timeline.begin(f"fault: {fault} of {primary}, stock Celery with {settings} settings")
            FAULTS[fault](containers, primary)
            _watch(results, timeline)
        finally:
            healed = time.time()
            containers.recover(*REDIS, *SENTINELS)
            ears.stop()
        time.sleep(TAIL_SECONDS)
        app.stop_client()
        _await_drained(results)
        return judged(
            settings,
            sent=[*_sent(results / "sent"), *_sent(results / "spare")],
            done=_done(results),
            timeline=timeline,
            healed=healed,
        )


def judged(
    settings: str, *, sent: Sequence[Sent], done: Sequence[tuple[int, float]], timeline: Timeline, healed: float
) -> StockFigures:
    """What the two lists say."""
    fault, switches = timeline.began, timeline.seconds("+switch-master")
    switched = switches[-1] if switches else None
    ours = [one for one in sent if one.number < _FIRST_SPARE and fault <= one.due <= healed]
    in_time = [one for one in ours if one.ended is not None and one.ended <= healed]
    accepted = {one.number for one in sent if one.outcome == "ok"}
    runs = Counter(number for number, _ in done)
    back = recovered(sent, done, fault + switched, healed) if switched is not None else None
    return StockFigures(
        settings=settings,
        switched=switched,
        recovered=None if back is None else back - fault,
        calls=len(ours),
        calls_ok=sum(one.outcome == "ok" for one in in_time),
        calls_hung=len(ours) - len(in_time),
        refusals=Counter(one.outcome for one in in_time if one.outcome != "ok"),
        slowest=max((one.ended - one.due for one in ours if one.ended), default=0.0),
        accepted=len(accepted),
        never_ran=len(accepted - runs.keys()),
        ran_twice=sum(times > 1 for number, times in runs.items() if number in accepted),
    )


def recovered(sent: Sequence[Sent], done: Sequence[tuple[int, float]], switched: float, healed: float) -> float | None:
    """When the first task was done that was sent to the new primary; None when that came with the healing only."""
    later = {one.number for one in sent if one.due > switched}
    return min((at for number, at in done if number in later and at < healed), default=None)


def _watch(results: Path, timeline: Timeline) -> None:
    """WATCH_SECONDS, or less when tasks flow again and go on to."""
    ends_at, calm_since = time.monotonic() + WATCH_SECONDS, None
    while time.monotonic() < ends_at:
        time.sleep(0.5)
        switches = timeline.seconds("+switch-master")
        if not switches:
            continue
        back = recovered(_sent(results / "spare"), _done(results), timeline.began + switches[-1], time.time())
        if back is not None:
            timeline.note("first task done that was sent after the switch", back)
            calm_since = calm_since or time.monotonic()
            if time.monotonic() > calm_since + CALM_SECONDS:
                return
    if calm_since is None:
        timeline.note(f"no task was done in {WATCH_SECONDS:g} s")


def _await_drained(results: Path) -> None:
    """Until everything that was accepted has run, or nothing has for STILL_SECONDS: what is left then is lost, or
    waits for the visibility timeout of an hour."""
    seen, since = -1, time.monotonic()
    while time.monotonic() < since + STILL_SECONDS:
        done = {number for number, _ in _done(results)}
        sent = [*_sent(results / "sent"), *_sent(results / "spare")]
        if all(one.number in done for one in sent if one.outcome == "ok"):
            return
        if len(done) != seen:
            seen, since = len(done), time.monotonic()
        time.sleep(0.5)


def _done(results: Path) -> list[tuple[int, float]]:
    lines = _lines(results / "done")
    return [(int(number), float(at)) for number, at in (line.split() for line in lines)]


def _sent(path: Path) -> list[Sent]:
    calls: dict[int, Sent] = {}
    for line in _lines(path):
        number, due, at, outcome = line.split()
        calls[int(number)] = Sent(int(number), float(due), None if outcome == "begun" else float(at), outcome)
    return list(calls.values())


def _lines(path: Path) -> list[str]:
    """Whole ones: the last may be being written."""
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


class _App:
    """Two containers of the test image on the nodes' network."""

    def __init__(self, stack: Stack, image: str, settings: str, results: Path) -> None:
        self._stack, self._image, self._settings, self._results = stack, image, settings, results
        self._started: list[str] = []

    def start(self, rate: float) -> None:
        shown = self._docker("run", "--rm", *self._options(), self._image, "python", "stock_app.py")
        console.say(f"  {self._settings}: {shown.strip()}")
        flags = ["--without-gossip", "--without-mingle", "--without-heartbeat"] if self._settings == "advised" else []
        self._start("celery", "--app=stock_app", "worker", f"--concurrency={PROCESSES}", "--loglevel=WARNING", *flags)
        self._start("python", "stock_client.py", str(rate), str(THREADS))

    def stop_client(self) -> None:
        self._docker("kill", self._started[-1])

    def stop(self) -> None:
        for container in self._started:
            with suppress(StackError):
                self._docker("rm", "--force", container)

    def _start(self, *command: str) -> None:
        self._started.append(self._docker("run", "--detach", *self._options(), self._image, *command).strip())

    def _options(self) -> list[str]:
        nodes = RedisNodes(self._stack)
        environment = {
            "STOCK_SETTINGS": self._settings,
            "STOCK_SENTINELS": ",".join(f"{nodes.address(sentinel)}:{SENTINEL_PORT}" for sentinel in SENTINELS),
            "STOCK_PRIMARY_NAME": PRIMARY_NAME,
            "STOCK_PASSWORD": self._stack.value("REDIS_APP_PASSWORD"),
        }
        options = ["--init", f"--network={throwaway.network(self._stack)}", "--workdir=/stock"]
        options += [f"--volume={self._stack.root}/app/tests/stock:/stock:ro", f"--volume={self._results}:/results"]
        return [*options, *(f"--env={name}={value}" for name, value in environment.items())]

    @staticmethod
    def _docker(*arguments: str) -> str:
        return processes.read(["docker", *arguments])


@contextmanager
def _app(stack: Stack, image: str, settings: str, results: Path) -> Iterator[_App]:
    app = _App(stack, image, settings, results)
    try:
        yield app
    finally:
        app.stop()
