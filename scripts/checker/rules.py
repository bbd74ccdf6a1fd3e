"""Every rule, by the name that --skip takes."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from scripts.checker import hashes, leases, letters, promises, schedules, transitions
from scripts.checker.evidence import Evidence, Finding

Rule = Callable[[Evidence], Iterator[Finding]]

RULES: Final[Mapping[str, Rule]] = {
    "lost": promises.lost,
    "unexpected": promises.unexpected,
    "effects": promises.effects,
    "transitions": transitions.transitions,
    "leases": leases.leases,
    "hashes": hashes.hashes,
    "dead-letters": letters.dead_letters,
    "replays": letters.replays,
    "schedules": schedules.schedules,
}


def judged(evidence: Evidence, *, skip: Collection[str] = ()) -> list[Finding]:
    """All findings, by rule."""
    return [finding for name, rule in RULES.items() if name not in skip for finding in rule(evidence)]
