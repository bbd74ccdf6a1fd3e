"""What a failover cost, from the times at which jobs ended, the answers that clients got, and a client's writes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Final

from scripts.drills.load import Answer, percentile

#: The system that this one follows: seconds from Sentinel's new primary to the first finished task.
ARTICLE_SECONDS: Final = 54.7
#: Stock Celery 5.7, default settings, seconds after +switch-master: killed, frozen.
STOCK: Final = {"kill": "4.8 s", "freeze": "never (72 s watched)"}
#: The same in what `make failover-compare` keeps.
STOCK_COLUMN: Final = "... after +switch-master"

#: A pause in the ends of jobs counts as an interruption when it is this many times the longest before the fault, and
#: at least so long: seconds.
_TIMES_USUAL: Final = 2.0
_LEAST_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Pause:
    """The longest interruption of a flow; all zero when it was never interrupted. Seconds."""

    recovered: float = 0.0  #: since the fault
    lasted: float = 0.0


def interruption(times: Sequence[float], *, fault: float, until: float) -> Pause:
    """The longest pause between two neighbours that ends after the fault and begins before `until`.

    `times` in order. A flow that never came back is interrupted until infinity.
    """
    usual = max((b - a for a, b in pairwise(times) if b <= fault), default=0.0)
    ends = [*times, float("inf")]
    pauses = [(b - a, b) for a, b in pairwise(ends) if b > fault and a < until]
    lasted, recovered = max(pauses, default=(float("inf"), float("inf")))
    if lasted < max(_LEAST_SECONDS, _TIMES_USUAL * usual):
        return Pause()
    return Pause(recovered - fault, lasted)


@dataclass(frozen=True)
class Accepts:
    """What clients saw between the fault and its healing. Milliseconds."""

    total: int
    ok: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def ok_ratio(self) -> float:
        return self.ok / self.total if self.total else 0.0

    @staticmethod
    def of(answers: Sequence[Answer], *, fault: float, until: float) -> "Accepts":
        """Requests that were due between two moments of the monotonic clock; latencies count from then."""
        inside = [answer for answer in answers if fault <= answer.sent - answer.late <= until]
        spent = [answer.since_due * 1000 for answer in inside]
        shares = [round(percentile(spent, share), 1) for share in (0.5, 0.99, 1.0)]
        return Accepts(len(inside), sum(answer.status == 202 for answer in inside), *shares)


@dataclass(frozen=True)
class Jobs:
    """The whole run's."""

    accepted: int
    finished: int
    duplicated: int  #: effects applied twice or more
    extra_executions: int

    @property
    def lost(self) -> int:
        return self.accepted - self.finished


@dataclass(frozen=True)
class Writes:
    """Of the client beside the jobs."""

    acknowledged: int
    lost: int
    gap: float  #: longest time without an acknowledged write, seconds


@dataclass(frozen=True)
class Figures:
    """Everything about one run. Times in seconds since the fault, unless said otherwise."""

    fault_at: float  #: Unix time
    switched: float | None  #: the last +switch-master
    flows: Mapping[str, Pause]  #: by pool, and the bridge in stream mode
    accepts: Accepts
    jobs: Jobs
    writes: Writes
    switches: int = 1  #: how often a primary was replaced
    counted_from: float = 0.0  #: the moment from which recovery is judged
    timeline: Sequence[tuple[float, str]] = field(default=())

    @property
    def recovered(self) -> float:
        return max(pause.recovered for pause in self.flows.values())

    @property
    def stood_still(self) -> float:
        return max(pause.lasted for pause in self.flows.values())

    def after_switch(self, pause: Pause) -> float | None:
        """None when nothing was switched; 0 when the flow was back before."""
        return None if self.switched is None else max(0.0, pause.recovered - self.switched)

    @property
    def recovered_after_switch(self) -> float | None:
        return None if self.switched is None else max(0.0, self.recovered - self.switched)

    def report(self) -> dict[str, Any]:
        return {
            "fault_at": self.fault_at,
            "switch_master_s": _rounded(self.switched),
            "switches": self.switches,
            "recovered_s": _rounded(self.recovered),
            "counted_from_s": _rounded(self.counted_from),
            "recovered_after_switch_s": _rounded(self.recovered_after_switch),
            "flows": {
                name: {
                    "recovered_s": _rounded(pause.recovered),
                    "recovered_after_switch_s": _rounded(self.after_switch(pause)),
                    "interrupted_s": _rounded(pause.lasted),
                }
                for name, pause in self.flows.items()
            },
            "accept_total": self.accepts.total,
            "accept_ok_ratio": round(self.accepts.ok_ratio, 6),
            **{f"accept_{name}": value for name, value in asdict(self.accepts).items() if name.endswith("_ms")},
            "jobs_accepted": self.jobs.accepted,
            "jobs_finished": self.jobs.finished,
            "jobs_lost": self.jobs.lost,
            "effects_duplicated": self.jobs.duplicated,
            "extra_executions": self.jobs.extra_executions,
            "redis_writes_acked": self.writes.acknowledged,
            "redis_writes_lost": self.writes.lost,
            "redis_write_gap_s": _rounded(self.writes.gap),
            "timeline": list(self.timeline),
        }

    def table(self, fault: str, *, stock: str = "") -> list[str]:
        """The lines that the operator reads; `stock`: seconds of stock Celery as they were measured here last."""
        accepts, jobs, writes = self.accepts, self.jobs, self.writes
        return [
            f"{'':<24}{'after the fault':>16}{'after the switch':>18}{'stood still':>14}",
            *(
                f"{name:<24}{_shown(pause.recovered):>16}{_shown(self.after_switch(pause)):>18}"
                f"{_shown(pause.lasted):>14}"
                for name, pause in self.flows.items()
            ),
            f"{'the article':<24}{'':>16}{ARTICLE_SECONDS:>16} s",
            f"{'stock Celery 5.7':<24}{'':>16}{stock or STOCK.get(fault, 'not measured'):>18}",
            f"accepts          {accepts.ok} of {accepts.total} ok ({accepts.ok_ratio:.2%}), "
            f"p50 {accepts.p50_ms:.0f} ms, p99 {accepts.p99_ms:.0f} ms, max {accepts.max_ms:.0f} ms",
            f"jobs             {jobs.accepted} accepted, {jobs.finished} finished, {jobs.lost} lost, "
            f"{jobs.duplicated} effects twice, {jobs.extra_executions} extra executions",
            f"writes to Redis  {writes.acknowledged} acknowledged, {writes.lost} of them lost, "
            f"longest gap {writes.gap:.2f} s",
        ]


def _rounded(seconds: float | None) -> float | None:
    """JSON knows no infinity: what never came back is -1."""
    if seconds is None:
        return None
    return -1.0 if seconds == float("inf") else round(seconds, 3)


def _shown(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return "never" if seconds == float("inf") else f"{seconds:.2f} s"
