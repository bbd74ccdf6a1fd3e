"""One live job per hash."""

from collections import defaultdict
from collections.abc import Iterator
from math import inf

from scripts.checker.database import Job
from scripts.checker.evidence import Evidence, Finding


def hashes(evidence: Evidence) -> Iterator[Finding]:
    """Two jobs of one hash that were live at once: between acceptance and a dead end.

    A job's times are read before its transaction waits for another of its hash, so two may overlap by `slack` seconds.
    """
    dead = evidence.database.machine.dead
    by_hash: defaultdict[str, list[tuple[float, float, Job]]] = defaultdict(list)
    for job in evidence.database.jobs.values():
        if hash_ := job.text("hash"):
            ended = job.number("ended") if job.state in dead else None
            by_hash[hash_].append((job.number("accepted") or 0.0, inf if ended is None else ended, job))
    for hash_, lives in by_hash.items():
        if len(lives) < 2:
            continue
        lives.sort(key=lambda life: life[:2])
        until, holder = -inf, lives[0][2]
        for accepted, ended, job in lives:
            if accepted + evidence.slack < until:
                yield Finding(
                    "two open ids", job.id, f"was accepted while {holder.id} of the same hash {hash_} was live"
                )
            if ended > until:
                until, holder = ended, job
