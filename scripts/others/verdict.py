"""What one system did under one fault: its history and its rows, judged by `scripts.checker`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from scripts.checker.evidence import Evidence
from scripts.checker.judge import judge

Record = dict[str, Any]

#: Rules of the checker about what other systems write down nowhere: states, leases, dead letters, schedules.
SKIPPED: Final = ("transitions", "leases", "hashes", "dead-letters", "replays", "schedules")

#: A request is DONE when it has an effect; OPEN when it was accepted and has none.
_MACHINE: Final[Mapping[str, Any]] = {
    "row": "machine",
    "legal": [],
    "good": ["DONE"],
    "dead": ["NOT_PROMISED"],
    "lettered": [],
    "named": [],
}

_OURS: Final = "holdfast"


@dataclass(frozen=True)
class Cell:
    """Counts of requests and effects. Seconds; None = it did not happen."""

    system: str
    fault: str
    seed: int
    requests: int
    accepted: int  #: the transaction with the request's row committed and the call that enqueues returned
    refused: int  #: the caller got an error
    stranded: int  #: of these: the row stands, and no job does
    unanswered: int  #: a call that never came back, and what waited behind it
    lost: int  #: accepted, and no effect when nothing moved any more
    kept: int  #: of these: the system still holds a message or a row of it, and does nothing about it
    twice: int
    ghosts: int  #: an effect of a request that was rolled back
    extra_executions: int
    recovered: float | None  #: from the last strike to the first effect of a request that was accepted after it
    slowest: float | None  #: from accept to effect
    elections: int  #: times that Sentinel made another node the primary while the fault was looked at

    @property
    def is_ours(self) -> bool:
        return self.system.startswith(_OURS)

    @property
    def broke_its_promise(self) -> bool:
        """Lost, applied twice, or was not what the caller was told; or accepted nothing, which proves nothing."""
        return bool(self.lost or self.twice or self.ghosts or self.stranded) or not self.accepted

    def record(self) -> Record:
        return asdict(self)


def judged(record: Record, folder: Path) -> Cell:
    """Writes the evidence down, for `python3 -m scripts.checker` to find again, and judges it. Raises InputInvalid."""
    history, rows = folder / "history.jsonl", folder / "rows.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    _write(history, record["history"])
    _write(rows, [_MACHINE, *record["rows"]])
    evidence, report = judge([history], [rows], skip=SKIPPED)
    broken: dict[str, set[str]] = {}
    for finding in report.findings:
        broken.setdefault(finding.defect, set()).add(finding.about)
    lost, unexpected = broken.get("lost", set()), broken.get("unexpected", set())
    kept = {row["id"] for row in record["rows"] if row["row"] == "job" and row["kept"]}
    answers = {event["request"]: event["type"] for event in record["history"] if event["op"] == "accept"}
    told, ends = list(answers.values()), _ends(evidence)
    return Cell(
        system=record["system"],
        fault=record["fault"],
        seed=record["seed"],
        requests=record["requests"],
        accepted=told.count("ok"),
        refused=told.count("fail") + told.count("info"),
        stranded=sum(1 for key in unexpected if evidence.lives[key].row is not None),
        unanswered=record["requests"] - sum(told.count(answer) for answer in ("ok", "fail", "info")),
        lost=len(lost),
        kept=len(lost & kept),
        twice=len(broken.get("duplicated effect", set())),
        ghosts=sum(1 for key in unexpected if evidence.lives[key].row is None),
        extra_executions=report.extra_executions,
        elections=record["elections"],
        recovered=_recovered(ends, record["strikes"]),
        slowest=max((end - accepted for accepted, end in ends), default=None),
    )


def _ends(evidence: Evidence) -> list[tuple[float, float]]:
    """When each request that has an effect was accepted, and when the effect was there. Unix times."""
    return [
        (float(accept.line["wall"]), float(life.effects[0]["first"]))
        for life in evidence.lives.values()
        if life.effects
        for accept in life.all("ok", "accept")
    ]


def _recovered(ends: list[tuple[float, float]], strikes: list[float]) -> float | None:
    return min((end - strikes[-1] for accepted, end in ends if accepted > strikes[-1]), default=None)


def _write(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")
