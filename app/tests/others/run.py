"""One fault under one script: all systems side by side, then what each wrote down and what its database holds."""

import json
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.others import remains, script
from tests.others.faults import FAULTS, Fault, mend
from tests.others.systems import Running, System
from tests.others.world import World
from tests.servers.process import private_directory

type Record = dict[str, Any]

#: Seconds without a new effect after which what has none is given up: longer than any of the settings above lets a
#: system wait before it tries again.
STILL_SECONDS: Final = 45.0
#: Seconds that the drain may take in all, and for which a client may go on after its script has ended.
DRAIN_SECONDS: Final = 180.0
CLIENT_SECONDS: Final = 30.0


def run(fault: Fault, systems: Sequence[System], *, seed: int, world: World, parent: Path) -> Iterator[Record]:
    """A record per system that the fault can reach."""
    directory = private_directory(parent, f"{fault.name}-{seed}")
    chosen = [system for system in systems if system.on_redis or not fault.of_redis]
    running = [Running(system, world, private_directory(directory, system.name), seed) for system in chosen]
    world.redis.flush()
    elections = world.elections()
    try:
        _together(running, Running.start)
        strikes = _break(fault, running, seed=seed, world=world)
        _drain(running)
    finally:
        _together(running, Running.stop)
    for one in running:
        yield {"shape": "evidence", "fault": fault.name, "seed": seed, "system": one.system.name, **_evidence(one)} | {
            "strikes": strikes,
            "elections": world.elections() - elections,
            "requests": len(script.drawn(seed).requests),
        }
        world.drop_database(one.database)


def _together(running: Sequence[Running], do: Any) -> None:  # noqa: ANN401 - a method of Running
    """The same of all at once: no system is the last to start. Raises the first error."""
    errors: list[BaseException] = []

    def guarded(one: Running) -> None:
        try:
            do(one)
        except BaseException as error:
            sys.stderr.write(f"{one.system.name}: {error}\n{one.logs()}\n")
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _break(fault: Fault, running: Sequence[Running], *, seed: int, world: World) -> list[float]:
    """The load with its strikes; Unix times of these."""
    chosen, plan = random.Random(f"{seed} {fault.name}"), script.drawn(seed)
    began = time.time() + 1.0
    for one in running:
        one.begin(began)
    strikes = []
    try:
        for at in plan.strikes[: fault.times]:
            time.sleep(max(0.0, began + at - time.time()))
            strikes.append(time.time())
            fault.strike(world, [one.processes for one in running], chosen)
        time.sleep(fault.lasts)
    finally:
        mend(world)
    time.sleep(max(0.0, began + script.LOAD_SECONDS - time.time()))
    return strikes


def _drain(running: Sequence[Running]) -> None:
    """Until every system has done what it accepted, or none of the others has done anything for STILL_SECONDS."""
    ends_at, clients_end_at = time.monotonic() + DRAIN_SECONDS, time.monotonic() + CLIENT_SECONDS
    seen: dict[str, int] = {}
    since = time.monotonic()
    while time.monotonic() < min(ends_at, since + STILL_SECONDS):
        time.sleep(1.0)
        if time.monotonic() > clients_end_at:
            for one in running:
                one.stop_client()
        applied = {one.system.name: one.applied() for one in running}
        now = {name: len(keys) for name, keys in applied.items()}
        if now != seen:
            seen, since = now, time.monotonic()
        if not any(one.submits() or _accepted(one) - applied[one.system.name] for one in running):
            return


def _accepted(one: Running) -> set[str]:
    return {event["job"] for event in _events(one.history) if event["op"] == "accept" and event["type"] == "ok"}


def _evidence(one: Running) -> Record:
    """In the form of scripts.checker: a request is its job."""
    history = [event for event in _events(one.history) if event.get("job") != str(script.WARM_UP)]
    answers = {event["request"]: event["type"] for event in history if event["op"] == "accept"}
    left = remains.text(one.system.name, one.world, database=one.database, redis_database=one.system.redis_database)
    with one.world.connect(one.database) as connection:
        requests = {str(row[0]) for row in connection.execute("SELECT id FROM others_request").fetchall()}
        effects = connection.execute(
            "SELECT request, count(*), extract(epoch FROM min(at))::float8 FROM others_effect GROUP BY request"
        ).fetchall()
    applied = {str(key): (int(count), float(first)) for key, count, first in effects}
    rows: list[Record] = [
        {
            "row": "job",
            "id": key,
            "request": key,
            "state": _state(answers.get(key), key in applied),
            "kept": key in left,
        }
        for key in sorted(requests - {str(script.WARM_UP)})
    ]
    rows += [
        {"row": "effect", "job": key, "name": "effect", "count": count, "first": first}
        for key, (count, first) in sorted(applied.items())
        if key != str(script.WARM_UP)
    ]
    return {"history": history, "rows": rows}


def _state(answer: str | None, applied: bool) -> str:
    """Whoever was not told yes was promised nothing."""
    if applied:
        return "DONE"
    return "OPEN" if answer == "ok" else "NOT_PROMISED"


def _events(folder: Path) -> list[Record]:
    """What was written whole, in the order of time."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines(keepends=True)]
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return sorted(events, key=lambda event: event["mono"])


def by_name(names: Sequence[str]) -> list[Fault]:
    return [fault for fault in FAULTS if not names or fault.name in names]
