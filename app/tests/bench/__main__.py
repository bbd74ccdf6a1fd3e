"""`python -m tests.bench [--rounds 5] [--only …]`: measures, one JSON record per line on standard output.

Rounds are interleaved (A B C, A B C, …): what else the machine does falls on all of them. What a contender needs to
start, and its warm-up, are not measured.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench import following, growth, shapes
from tests.bench.contenders import Bare, Contender, Holdfast
from tests.bench.servers import Servers
from tests.bench.shapes import Record, Web
from tests.servers.process import free_ports, private_directory
from tests.servers.sentinel import SentinelTopology

type Shape = Callable[[], Iterator[Record]]

GROUPS = ("queue", "submit", "accept", "growth", "watcher")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=GROUPS, action="append")
    parser.add_argument("--disk", type=Path, required=True, help="an empty folder on a real disk")
    arguments = parser.parse_args()
    servers = Servers(arguments.disk)
    try:
        servers.start()
        emit({"shape": "facts", **servers.facts()})
        for group in arguments.only or GROUPS[:3]:
            _GROUPS[group](servers, private_directory(arguments.disk, group), arguments.rounds)
    finally:
        servers.stop()


def emit(record: Record) -> None:
    print(json.dumps(record), flush=True)  # noqa: T201 - the answer


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


def measured(records: Iterator[Record], contender: str, number: int) -> None:
    for record in records:
        emit({"contender": contender, "round": number, **record})
        value = next((record[name] for name in _SHOWN if name in record), 0.0)
        who, what = record.get("contender", contender), record.get("operation", record["shape"])
        say(f"  round {number} {who:<16} {what:<18} {value:,.1f}")


#: Of a record, the first of these that it has is told while the bench runs.
_SHOWN = ("cpu_us_per_job", "cpu_ms_per_second", "per_second", "p50_ms", "ms")


def _contenders(servers: Servers, parent: Path) -> list[Contender]:
    return [
        Bare("bare celery", servers, parent=parent, redis_database=2),
        Holdfast("celery mode", servers, parent=parent, redis_database=4, mode="celery"),
        Holdfast("stream mode", servers, parent=parent, redis_database=6, mode="stream"),
    ]


def _queue(servers: Servers, parent: Path, rounds: int) -> None:
    _contest(servers, parent, rounds, _queue_shapes)


def _submit(servers: Servers, parent: Path, rounds: int) -> None:
    _contest(servers, parent, rounds, _submit_shapes)


def _contest(servers: Servers, parent: Path, rounds: int, shapes_of: Callable[[Contender], list[Shape]]) -> None:
    contenders = _contenders(servers, parent)
    _start(contenders)
    try:
        for number in range(1, rounds + 1):
            for contender in contenders:
                _contest_round(contender, number, shapes_of(contender))
    finally:
        for contender in contenders:
            contender.stop()


def _contest_round(contender: Contender, number: int, shapes_of_round: list[Shape]) -> None:
    contender.thaw()
    shapes.prepare(contender)
    for shape in shapes_of_round:
        measured(shape(), contender.name, number)
    contender.freeze()


def _queue_shapes(contender: Contender) -> list[Shape]:
    common = [shapes.enqueue, shapes.drain, shapes.latency]
    made: list[Shape] = [lambda shape=shape: shape(contender) for shape in common]
    if isinstance(contender, Bare):
        made.append(lambda: shapes.drain_of_nothing(contender))
    return made


def _submit_shapes(contender: Contender) -> list[Shape]:
    made: list[Shape] = [lambda: shapes.dispatch(contender)]
    if isinstance(contender, Holdfast):
        made.append(lambda: shapes.submit_bulk(contender))
    return made


def _accept(servers: Servers, parent: Path, rounds: int) -> None:
    ports = free_ports(2)
    contender = Holdfast("accepting", servers, parent=parent, redis_database=8, mode="celery")
    _start([contender])
    webs = [
        Web("bare view", contender, port=ports[0], settings="tests.bench.bare_settings"),
        Web("holdfast", contender, port=ports[1]),
    ]
    contender.thaw()
    try:
        for web in webs:
            web.process.start()
            web.process.freeze()
        for number in range(1, rounds + 1):
            for web in webs:
                measured(shapes.accept(web, bulk=web.name == "holdfast"), web.name, number)
    finally:
        for web in webs:
            web.process.kill()
        contender.stop()


def _growth(servers: Servers, parent: Path, rounds: int) -> None:
    contenders = {
        size: Holdfast(f"open {size}", servers, parent=parent, redis_database=2 * place, mode="stream")
        for place, size in enumerate(growth.SIZES, start=1)
    }
    slow = Holdfast("slow", servers, parent=parent, redis_database=10, mode="stream")
    everyone: list[Contender] = [*contenders.values(), slow]
    _start(everyone)
    try:
        for size, contender in contenders.items():
            say(f"  {size:,} open jobs inserted in {growth.fill(contender, size):.1f} s")
            measured(growth.operations(contender, size, statistics="stale"), contender.name, 0)
        for contender in contenders.values():
            contender.observer.execute("VACUUM ANALYZE job")
        for number in range(1, rounds + 1):
            for size, contender in contenders.items():
                measured(growth.operations(contender, size, statistics="fresh"), contender.name, number)
        for number in range(1, min(rounds, growth.DRAIN_ROUNDS) + 1):
            for size in (growth.SIZES[0], growth.SIZES[-1]):
                contender = contenders[size]
                contender.thaw()
                first = size + 1 + (number - 1) * growth.DRAIN_JOBS
                measured(growth.drain(contender, size, first=first), contender.name, number)
                contender.freeze()
        slow.thaw()
        slow.halt_workers()
        measured(growth.slow_pool(slow), slow.name, 1)
    finally:
        for contender in everyone:
            contender.stop()


def _watcher(_servers: Servers, parent: Path, rounds: int) -> None:
    topology = SentinelTopology(parent=parent)
    pair = [
        following.BareOnSentinel(name, topology, parent=parent, follows=name == following.OURS)
        for name in (following.STOCK, following.OURS)
    ]
    try:
        topology.start()
        for one in pair:
            one.start()
            one.warm_up()
        for number in range(1, rounds + 1):
            for one, records in following.round_of(pair, number):
                measured(records, one.name, number)
    finally:
        for one in pair:
            one.stop()
        topology.stop()


def _start(contenders: list[Contender]) -> None:
    for contender in contenders:
        began = time.monotonic()
        contender.start()
        say(f"  {contender.name} started in {time.monotonic() - began:.1f} s")
        contender.freeze()


_GROUPS: dict[str, Callable[[Servers, Path, int], Any]] = {
    "queue": _queue,
    "submit": _submit,
    "accept": _accept,
    "growth": _growth,
    "watcher": _watcher,
}

if __name__ == "__main__":
    os.umask(0o022)
    main()
