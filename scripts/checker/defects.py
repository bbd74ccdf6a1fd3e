"""Plants one defect into a whole sample. Each names what the checker has to call it."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from scripts.checker.sample import Row, Sample


class Defect(NamedTuple):
    """`plant` returns what it is about."""

    found_as: frozenset[str]
    plant: Callable[[Sample, random.Random], str]


def plant(sample: Sample, name: str) -> str:
    """Plants `name`, by the sample's seed. Returns the job, or what else it is about. Raises LookupError when the
    sample has no job of the kind that it takes."""
    return DEFECTS[name].plant(sample, random.Random(f"{sample.seed} {name}"))


def _one(sample: Sample, chosen: random.Random, **wanted: object) -> Row:
    found = [row for row in sample.jobs(**wanted) if "request" in row]
    if not found:
        raise LookupError(f"no job with {wanted}")
    return chosen.choice(found)


def _lost_row(sample: Sample, chosen: random.Random) -> str:
    job = str(_one(sample, chosen, state="SUCCEEDED")["id"])
    sample.drop(job, "job", "step", "effect")
    return job


def _never_ended(sample: Sample, chosen: random.Random) -> str:
    row = _one(sample, chosen, state="SUCCEEDED", attempt=1)
    job = str(row["id"])
    end = sample.steps_of(job)[-1]
    sample.rows.remove(end)
    sample.drop(job, "effect")
    row |= {"state": "RUNNING", "token": end["token"] - 1}
    for event in sample.events_of(job, "finish"):
        sample.events.remove(event)
    return job


def _unasked(sample: Sample, chosen: random.Random) -> str:
    row = _one(sample, chosen)
    sample.events = [
        event
        for event in sample.events
        if event["op"] != "accept" or (event.get("job") != row["id"] and event.get("request") != row["request"])
    ]
    return str(row["id"])


def _refused(sample: Sample, chosen: random.Random) -> str:
    row = _one(sample, chosen)
    for event in sample.events_of(row["id"], "accept"):
        if event["actor"] != "client":
            sample.events.remove(event)
    for event in sample.events:
        if event.get("request") == row["request"] and event["type"] != "invoke":
            event["type"] = "fail"
            event.pop("job", None)
    return str(row["id"])


def _effect_twice(sample: Sample, chosen: random.Random) -> str:
    effect = chosen.choice([row for row in sample.rows if row["row"] == "effect"])
    effect["count"] = 2
    return str(effect["job"])


def _effect_missing(sample: Sample, chosen: random.Random) -> str:
    job = str(_one(sample, chosen, state="SUCCEEDED")["id"])
    sample.drop(job, "effect")
    return job


def _effect_of_the_dead(sample: Sample, chosen: random.Random) -> str:
    job = str(_one(sample, chosen, state="FAILED")["id"])
    sample.rows.append({"row": "effect", "job": job, "name": "probe", "count": 1})
    return job


def _rises_again(sample: Sample, chosen: random.Random) -> str:
    row = _one(sample, chosen, state="SUCCEEDED")
    last = sample.steps_of(row["id"])[-1]
    for seq, before, to in ((last["seq"] + 1, "SUCCEEDED", "RUNNING"), (last["seq"] + 2, "RUNNING", "SUCCEEDED")):
        token = row["token"] = row["token"] + 1
        sample.rows.append({**last, "seq": seq, "from": before, "to": to, "token": token})
    return str(row["id"])


def _two_ends(sample: Sample, chosen: random.Random) -> str:
    row = _one(sample, chosen, state="SUCCEEDED")
    end = next(event for event in sample.events_of(row["id"], "finish") if event["type"] == "ok")
    _insert(sample, {**end, "actor": "worker-9", "mono": end["mono"] + 0.5, "call": None})
    return str(row["id"])


def _told_another_end(sample: Sample, chosen: random.Random) -> str:
    row = _one(sample, chosen, state="SUCCEEDED")
    end = next(event for event in sample.events_of(row["id"], "finish") if event["type"] == "ok")
    end |= {"op": "fail", "state": "FAILED"}
    return str(row["id"])


def _token_stands_still(sample: Sample, chosen: random.Random) -> str:
    row = _one(sample, chosen, state="SUCCEEDED")
    steps = sample.steps_of(row["id"])
    steps[-1]["token"] = steps[-2]["token"]
    return str(row["id"])


def _two_holders(sample: Sample, chosen: random.Random) -> str:
    row = _one(sample, chosen, state="SUCCEEDED")
    claim = next(event for event in sample.events_of(row["id"], "claim") if event["type"] == "ok")
    _insert(sample, {**claim, "actor": "worker-9", "call": None})
    return str(row["id"])


def _stale_finish(sample: Sample, chosen: random.Random) -> str:
    """A holder that was rescued from finishes all the same: the fence let it through."""
    rescued = [row["job"] for row in sample.rows if row["row"] == "step" and row.get("event") == "rescued"]
    job = chosen.choice([job for job in rescued if sample.jobs(id=job, state="SUCCEEDED")])
    end = next(event for event in sample.events_of(job, "finish") if event["type"] == "ok")
    begin = next(event for event in sample.events_of(job, "finish") if event.get("call") == end["call"])
    end["token"] = begin["token"] = 1
    return str(job)


def _two_open(sample: Sample, chosen: random.Random) -> str:
    first = _one(sample, chosen, state="SUCCEEDED")
    second = _one(sample, chosen, state="SUCCEEDED")
    while second is first:
        second = _one(sample, chosen, state="SUCCEEDED")
    if first["accepted"] > second["accepted"]:
        first, second = second, first
    second["hash"] = first["hash"]
    second["accepted"] = max(second["accepted"], first["accepted"] + 60.0)
    return str(second["id"])


def _letter(sample: Sample, chosen: random.Random, **wanted: object) -> Row:
    found = [row for row in sample.rows if row["row"] == "dead_letter" and wanted.items() <= row.items()]
    if not found:
        raise LookupError(f"no dead letter with {wanted}")
    return chosen.choice(found)


def _no_cause(sample: Sample, chosen: random.Random) -> str:
    letter = _letter(sample, chosen, reason="attempts_exhausted")
    sample.jobs(id=letter["job"])[0]["max_attempts"] += 1
    return str(letter["job"])


def _no_letter(sample: Sample, chosen: random.Random) -> str:
    letter = _letter(sample, chosen)
    sample.rows.remove(letter)
    return str(letter["job"])


def _broken_replay(sample: Sample, chosen: random.Random) -> str:
    letter = chosen.choice([row for row in sample.rows if row["row"] == "dead_letter" and "replayed_as" in row])
    letter["replayed_as"] = "nobody"
    return str(letter["job"])


def _repeats_the_living(sample: Sample, chosen: random.Random) -> str:
    again = chosen.choice([row for row in sample.jobs() if "replay_of" in row])
    again["replay_of"] = _one(sample, chosen, state="SUCCEEDED")["id"]
    return str(again["id"])


def _tick_twice(sample: Sample, chosen: random.Random) -> str:
    tick = chosen.choice([event for event in sample.events if event["op"] == "tick"])
    other = _one(sample, chosen, state="SUCCEEDED")
    other |= {"schedule": tick["schedule"], "tick": tick["tick"]}
    return max(str(other["id"]), str(tick["job"]))


def _tick_missed(sample: Sample, chosen: random.Random) -> str:
    schedule = chosen.choice([row for row in sample.rows if row["row"] == "schedule"])
    schedule["due"].append(schedule["due"][-1] + 60)
    return f"{schedule['name']} {schedule['due'][-1]}"


def _insert(sample: Sample, event: dict[str, Any]) -> None:
    sample.events.append(event)
    sample.events.sort(key=lambda one: float(one["mono"]))


def _defect(planter: Callable[[Sample, random.Random], str], *found_as: str) -> Defect:
    return Defect(frozenset(found_as), planter)


DEFECTS: Final[Mapping[str, Defect]] = {
    "lost-row": _defect(_lost_row, "lost"),
    "never-ended": _defect(_never_ended, "lost"),
    "unasked": _defect(_unasked, "unexpected"),
    "refused": _defect(_refused, "unexpected"),
    "effect-twice": _defect(_effect_twice, "duplicated effect"),
    "effect-missing": _defect(_effect_missing, "lost effect"),
    "effect-of-the-dead": _defect(_effect_of_the_dead, "unexpected"),
    "rises-again": _defect(_rises_again, "illegal transition"),
    "two-ends": _defect(_two_ends, "illegal transition"),
    "told-another-end": _defect(_told_another_end, "illegal transition"),
    "token-stands-still": _defect(_token_stands_still, "lease token"),
    "two-holders": _defect(_two_holders, "lease token"),
    "stale-finish": _defect(_stale_finish, "lease token"),
    "two-open": _defect(_two_open, "two open ids"),
    "no-cause": _defect(_no_cause, "dead letter"),
    "no-letter": _defect(_no_letter, "dead letter"),
    "broken-replay": _defect(_broken_replay, "replay link"),
    "repeats-the-living": _defect(_repeats_the_living, "replay link"),
    "tick-twice": _defect(_tick_twice, "schedule"),
    "tick-missed": _defect(_tick_missed, "schedule"),
}
