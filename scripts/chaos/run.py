"""One run: reset, load and faults, healing, drain, verdict. Returns its record whatever the verdict says."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from scripts.chaos import client as chaos_client
from scripts.chaos import evidence as evidence_of
from scripts.chaos import histories, judging, restore
from scripts.chaos.catalogue import KINDS, fault_of
from scripts.chaos.client import Client
from scripts.chaos.counters import Counters
from scripts.chaos.evidence import Evidence
from scripts.chaos.invariants import LiveInvariants
from scripts.chaos.nemesis import Nemesis
from scripts.chaos.plan import Plan
from scripts.chaos.scene import Scene
from scripts.drills import arguments as drill
from scripts.drills import outcome, workload
from scripts.drills.client_ledger import ClientLedger
from scripts.drills.load import Answer, spread
from scripts.drills.verdict import Verdict
from scripts.stack import host_history, verify_data

#: Seconds in which every request gets its id once all is healed.
SETTLE_SECONDS: Final = 60.0

Record = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """One run's record for the results file, and its exit status."""

    record: Record
    status: int


def carry_out(scene: Scene, plan: Plan, *, judges_time: bool = True, is_healed: bool = False) -> Result:
    """`is_healed`: a run on this stack has just ended. Raises StackError when it cannot be emptied or healed."""
    spent = Spent()
    # To build an image while something is to be broken would take the place of the fault.
    scene.find_netfilter()
    if any(step.fault.startswith("clock-") for step in plan.steps):
        scene.find_skewed()
    restore.empty(scene, is_healed=is_healed)
    spent.on("reset")
    host_history.start(scene.stack)
    scene = replace(scene, tag=drill.new_tag())
    verdict = Verdict(
        f"seed {plan.seed}, {plan.mode}, {plan.topology}: {plan.count} requests at {plan.rate:g}/s under "
        f"{len(plan.steps)} fault(s): 0 lost, 0 effects twice, every answer true",
        judges_time=judges_time,
    )
    script = chaos_client.script(plan, tag=scene.tag, began=time.time())
    client = Client(workload.target_of(scene.stack), script, rate=plan.rate)
    nemesis, counters = Nemesis(plan, lambda step: fault_of(scene, step)), Counters(scene.containers)
    live = LiveInvariants(lambda: verify_data.look(scene.stack))
    try:
        live.start()
        answers = under_faults(scene, client, nemesis, counters)
        live.require_looks()
        spent.on("load and healing")
        _settle(verdict, client, answers)
        _drain(scene, verdict)
        spent.on("drain")
    finally:
        counters.end()
        live.end()
    found = evidence_of.collect(scene.truth, client, plan, nemesis, counters.total(), live.total(), tag=scene.tag)
    told = histories.judged(scene.stack)
    found = replace(found, history=told.phrases)
    verdict.note(f"       {live.looks} looks at the invariants")
    judge(verdict, found)
    keep_broken(verdict, told, plan)
    spent.on("verdict")
    verdict.note(f"       seconds: {', '.join(f'{name} {seconds:g}' for name, seconds in spent.seconds.items())}")
    return Result(record_of(found, verdict, spent.seconds), verdict.status())


@dataclass
class Spent:
    """Where the time of a run goes: part -> seconds."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    def on(self, part: str) -> None:
        """All since the last one."""
        now = time.monotonic()
        self.seconds[part], self._since = round(now - self._since, 1), now


def under_faults(scene: Scene, client: Client, nemesis: Nemesis, counters: Counters) -> list[Answer]:
    """Sends the load and carries out the plan; everything is healed on every way out."""
    try:
        counters.start()
        client.start()
        nemesis.start()
        nemesis.await_last()
        return client.join()
    finally:
        client.stop()
        nemesis.finish()
        restore.heal(scene)


def _settle(verdict: Verdict, client: Client, answers: list[Answer]) -> None:
    """Repeats by its key what has no id, as a careful client does."""
    ledger = ClientLedger()
    for answer in answers:
        if client.requests[answer.index].is_submit:
            ledger.note(answer)
    sent = [answer for answer in answers if answer.status != chaos_client.NOT_SENT]
    verdict.note(
        f"       client: {len(ledger.ids)} ids, {len(ledger.refused)} refused, {len(ledger.unknown)} unknown; "
        f"{spread(sent)}"
    )
    ledger.settle(client.send, within=SETTLE_SECONDS)


def _drain(scene: Scene, verdict: Verdict) -> None:
    """Waits until nothing is open."""
    began = time.monotonic()
    hinted_by = scene.truth.hinted_by(scene.tag)
    census = outcome.await_end(scene.truth, scene.tag, within=hinted_by + outcome.BACKLOG_SECONDS)
    took = time.monotonic() - began
    verdict.note(f"       {census.open} of {census.jobs} jobs open {took:.1f} s after everything was healed")


def judge(verdict: Verdict, evidence: Evidence) -> None:
    """Every judge's word, and what is worth knowing beside it."""
    for promise, judged in judging.JUDGES:
        phrases = judged(evidence)
        verdict.check(not phrases, "; ".join([promise, *phrases]))
    counts = judging.tally(evidence)
    verdict.note("       " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))
    verdict.note("       seen: " + ", ".join(f"{name} {times}" for name, times in evidence.sometimes().items()))
    if evidence.recovery is not None:
        limit = KINDS[evidence.deeds[0].step.fault].back_within
        said = f"every flow was back after {evidence.recovery:.2f} s (limit {limit:g} s)"
        verdict.check_time(evidence.recovery <= limit, said)


def keep_broken(verdict: Verdict, told: histories.Judged, plan: Plan) -> None:
    """What shows why a promise broke outlives the next run."""
    if verdict.broken:
        verdict.note(f"       history and rows are kept in {told.keep(plan)}")


def record_of(evidence: Evidence, verdict: Verdict, spent: Mapping[str, float]) -> Record:
    recovery = evidence.recovery
    return {
        "seed": evidence.plan.seed,
        "mode": evidence.plan.mode,
        "topology": evidence.plan.topology,
        "plan": asdict(evidence.plan),
        "applied": [deed.step.fault for deed in evidence.deeds if deed.applied],
        "deeds": [deed.words or f"{deed.step.words()}: {deed.failure}" for deed in evidence.deeds],
        **judging.tally(evidence),
        "sometimes": evidence.sometimes(),
        # JSON knows no infinity: what never came back is -1.
        "recovery_s": None if recovery is None else -1.0 if recovery == float("inf") else round(recovery, 2),
        "spent_s": dict(spent),
        "broken": list(verdict.broken),
        "verdict": "broken" if verdict.broken else "held",
    }
