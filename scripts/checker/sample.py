"""Makes up a history and the rows at its end, in which every promise held."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

#: Seconds since 1970 at which monotonic second 0 lies.
_EPOCH: Final = 1_700_000_000.0
_MOST_ATTEMPTS: Final = 3
_TICK_SECONDS: Final = 60
#: Jobs per second.
_RATE: Final = 100.0

Row = dict[str, Any]


@dataclass
class Sample:
    """Events as processes write them, each file in its own order, and rows."""

    seed: int
    events: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    calls: int = 0

    def write(self, folder: Path) -> None:
        """history/<actor>.jsonl and rows.jsonl."""
        by_actor: dict[str, list[Row]] = {}
        for event in self.events:
            by_actor.setdefault(event["actor"], []).append(event)
        (folder / "history").mkdir(parents=True, exist_ok=True)
        for actor, events in by_actor.items():
            _write(folder / "history" / f"{actor}.jsonl", events)
        _write(folder / "rows.jsonl", self.rows)

    def jobs(self, **wanted: object) -> list[Row]:
        """Rows of jobs that have these values."""
        return [row for row in self.rows if row["row"] == "job" and wanted.items() <= row.items()]

    def events_of(self, job: str, *ops: str) -> list[Row]:
        return [event for event in self.events if event.get("job") == job and event["op"] in ops]

    def steps_of(self, job: str) -> list[Row]:
        return [row for row in self.rows if row["row"] == "step" and row["job"] == job]

    def drop(self, job: str, *kinds: str) -> None:
        """Rows of some kinds that belong to a job."""
        self.rows = [row for row in self.rows if row["row"] not in kinds or job not in (row.get("job"), row.get("id"))]


@dataclass
class _Life:
    """One job while it is made up."""

    sample: Sample
    random: random.Random
    row: Row
    now: float
    seq: int = 0

    def event(self, type_: str, op: str, actor: str, **members: object) -> None:
        self.now += self.random.uniform(0.0005, 0.01)
        line = {"type": type_, "op": op, "actor": actor, "mono": self.now, "wall": _EPOCH + self.now, **members}
        self.sample.events.append(line)

    def call(self, end: str, op: str, actor: str, *, told: Row | None = None, **members: object) -> None:
        """An invoke and its end."""
        self.sample.calls += 1
        members["call"] = self.sample.calls
        self.event("invoke", op, actor, **members)
        self.event(end, op, actor, **members, **(told or {}))

    def step(self, to: str, **members: object) -> None:
        token = self.row["token"] = self.row["token"] + 1 if self.seq else 0
        before, self.row["state"] = self.row["state"] if self.seq else "", to
        line = {"row": "step", "job": self.row["id"], "seq": self.seq, "from": before, "to": to, "token": token}
        self.sample.rows.append({**line, "wall": _EPOCH + self.now, **members})
        self.seq += 1

    def accept(self, *, client: bool) -> None:
        row = self.row
        self.sample.calls += 1
        call = self.sample.calls
        if client:
            self.event("invoke", "accept", "client", request=row["request"], call=call)
        self.call("ok", "accept", "web-1", job=row["id"])
        row["accepted"] = _EPOCH + self.now
        self.step("QUEUED", event="accepted")
        if client and self.random.random() < 0.1:
            self.event("info", "accept", "client", request=row["request"], call=call, reason="timeout")
        elif client:
            self.event("ok", "accept", "client", request=row["request"], call=call, job=row["id"])
        self.event("ok", "dispatch", "web-1", job=row["id"], gen=1)

    def run(self) -> None:
        """Attempts until it has ended."""
        while self.row["state"] in ("QUEUED", "RUNNING"):
            worker = f"worker-{self.random.randrange(4)}"
            self.now += self.random.expovariate(10.0)
            if self.row["state"] == "QUEUED" and self.random.random() < 0.02:
                self._end("cancel", "CANCELLED", "web-1", token=None)
                return
            rescued = self.row["state"] == "RUNNING"
            self.row["attempt"] += 1
            self.step("RUNNING", actor=worker, event="rescued" if rescued else "claimed")
            token = self.row["token"]
            self.call("ok", "claim", worker, job=self.row["id"], told={"token": token})
            self._attempt(worker, token)

    def _attempt(self, worker: str, token: int) -> None:
        chance, is_last = self.random.random(), self.row["attempt"] >= self.row["max_attempts"]
        if chance < 0.8:
            self._end("finish", "SUCCEEDED", worker, token=token)
        elif chance < 0.85 and is_last:
            self._die(worker, token, "attempts_exhausted")
        elif chance < 0.87:
            self._die(worker, token, "permanent")
        elif chance < 0.92 and not is_last:
            self.step("QUEUED", event="retried")
            self.call("ok", "retry", worker, job=self.row["id"], token=token)
        elif chance < 0.95:
            self.row["attempt"] -= 1
            self.step("QUEUED", event="handed_back")
            self.call("ok", "hand_back", worker, job=self.row["id"], token=token)
        elif is_last:
            self._die(worker, token, "worker_lost")
        else:
            self.sample.calls += 1  # killed: its finish never comes, or too late
            self.event("invoke", "finish", worker, job=self.row["id"], token=token, call=self.sample.calls)

    def _end(self, op: str, state: str, actor: str, *, token: int | None, **members: object) -> None:
        self.step(state, **members)
        self.row["ended"] = _EPOCH + self.now
        told = {"state": state}
        self.call("ok", op, actor, job=self.row["id"], **({} if token is None else {"token": token}), told=told)
        if state == "SUCCEEDED":
            self.sample.rows.append({"row": "effect", "job": self.row["id"], "name": "probe", "count": 1})

    def _die(self, worker: str, token: int, reason: str) -> None:
        self._end("fail", "FAILED", worker, token=token, reason=reason)
        self.sample.rows.append({"row": "dead_letter", "job": self.row["id"], "reason": reason})
        self.event("ok", "dead_letter", worker, job=self.row["id"], reason=reason)


def whole(*, jobs: int, seed: int) -> Sample:
    """A run in which every promise held."""
    chosen, sample = random.Random(seed), Sample(seed)
    at = 0.0
    for number in range(jobs):
        at += chosen.expovariate(_RATE)
        life = _Life(
            sample, chosen, _row(sample, f"job-{number}", f"hash-{number}", most=chosen.randint(1, _MOST_ATTEMPTS)), at
        )
        life.row["request"] = f"request-{number}"
        life.accept(client=True)
        life.run()
        if life.row["state"] == "FAILED" and chosen.random() < 0.5:
            _replay(sample, chosen, life)
    ticks = [tick * _TICK_SECONDS for tick in range(1, 2 + int(at) // _TICK_SECONDS)]
    sample.rows.append({"row": "schedule", "name": "nightly", "due": ticks})
    for tick in ticks:
        life = _Life(sample, chosen, _row(sample, f"tick-{tick}", f"tick-{tick}"), float(tick))
        life.row |= {"schedule": "nightly", "tick": tick}
        life.step("QUEUED", event="accepted")
        life.row["accepted"] = _EPOCH + life.now
        life.event("ok", "tick", "sweeper-1", job=life.row["id"], schedule="nightly", tick=tick)
        life.run()
    sample.events.sort(key=lambda event: float(event["mono"]))
    return sample


def _row(sample: Sample, id_: str, hash_: str, *, most: int = _MOST_ATTEMPTS) -> Row:
    row: Row = {"row": "job", "id": id_, "state": "", "token": 0, "attempt": 0, "max_attempts": most}
    row |= {"hash": hash_, "wants": 1}
    sample.rows.append(row)
    return row


def _replay(sample: Sample, chosen: random.Random, dead: _Life) -> None:
    again = _Life(sample, chosen, _row(sample, f"{dead.row['id']}-again", dead.row["hash"]), dead.now + 1.0)
    again.row["replay_of"] = dead.row["id"]
    letter = next(row for row in reversed(sample.rows) if row["row"] == "dead_letter")
    letter["replayed_as"] = again.row["id"]
    again.event("ok", "replay", "web-1", job=again.row["id"], of=dead.row["id"])
    again.accept(client=False)
    again.run()


def _write(path: Path, lines: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")
