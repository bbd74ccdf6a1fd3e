"""Jobs by the clock. A tick becomes one job, identity `tick:<schedule>:<tick>`, with any number of sweepers."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim, CronSimError
from django.db import DatabaseError, InterfaceError, transaction

import history
from dispatch import Priority
from jobs import submission
from jobs.after_commit import after_commit
from jobs.clock import database_now
from jobs.errors import FieldProblem, InvalidRequest
from jobs.models import Schedule
from jobs.requests import JobRequest, NewJob, Origin, prepare
from jobs.states import MissedTicks
from jobs.submission import Submitted

#: Seconds; a tick that is later than this was missed, and the schedule's policy decides.
MISSED_AFTER_SECONDS: Final = 60
#: Ticks of one schedule that one round fires under MissedTicks.ALL; the next round goes on.
TICKS_PER_ROUND: Final = 100

log = structlog.get_logger()


def schedule(
    name: str,
    *,
    owner: str,
    cron: str,
    kind: str,
    params: Mapping[str, Any],
    tz: str = "UTC",
    farm_id: str = "",
    priority: str = "normal",
    missed: MissedTicks = MissedTicks.LATEST,
) -> Schedule:
    """Makes or changes the schedule `name`. Its next tick lies ahead of now; with cron and tz as they were, what is due
    or was missed still fires: it may be called at every start. Raises InvalidRequest."""
    prepare(JobRequest(kind, params, farm_id, priority), owner=owner)
    values = {
        "owner": owner,
        "cron": cron,
        "tz": tz,
        "kind": kind,
        "params": dict(params),
        "farm_id": farm_id,
        "priority": int(Priority.from_word(priority)),
        "missed": missed,
        "next_tick_at": next_tick(cron, tz, database_now()),
        "last_error": "",
    }
    with transaction.atomic():
        if known := Schedule.objects.select_for_update().filter(name=name, cron=cron, tz=tz).first():
            values["next_tick_at"] = known.next_tick_at
        return Schedule.objects.update_or_create(name=name, defaults=values)[0]


def next_tick(cron: str, tz: str, after: datetime) -> datetime:
    """The first tick after `after`, in UTC. Raises InvalidRequest for a bad cron line or time zone."""
    return next(_walk(cron, tz, after))


def _latest_tick(cron: str, tz: str, now: datetime) -> datetime:
    """The last tick that is not after `now`, in UTC."""
    backwards = _walk(cron, tz, now + timedelta(seconds=1), reverse=True)
    return next(tick for tick in backwards if tick <= now)


def _walk(cron: str, tz: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    """Ticks in UTC from `start` on, which is not among them. Raises InvalidRequest."""
    try:
        zone = ZoneInfo(tz)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidRequest([FieldProblem("tz", f"{tz!r} is no IANA time zone, e.g. Europe/Berlin")]) from error
    try:
        for tick in CronSim(cron, start.astimezone(zone), reverse=reverse):
            yield tick.astimezone(UTC)
    except CronSimError as error:
        raise InvalidRequest([FieldProblem("cron", f"{cron!r} is no cron line: {error}")]) from error
    raise InvalidRequest([FieldProblem("cron", f"{cron!r} never comes")])


def fire_due() -> int:
    """Fires every schedule whose tick has come. Returns how many jobs came into being."""
    fired = 0
    with transaction.atomic():
        now = database_now()
        for due in Schedule.objects.select_for_update(skip_locked=True).filter(paused=False, next_tick_at__lte=now):
            try:
                with transaction.atomic():
                    fired += _fire(due, now)
            except (DatabaseError, InterfaceError):
                raise
            except Exception as error:
                # Also what nobody foresaw: one bad row must not stop the sweeper, which hints for everybody.
                # The schedule stays due: whoever mends it (or upgrades this sweeper) gets the ticks by its policy.
                Schedule.objects.filter(id=due.id).update(last_error=(str(error) or repr(error))[:1000])
                log.warning("schedule cannot fire", schedule=due.name, error=repr(error))
    return fired


def _fire(due: Schedule, now: datetime) -> int:
    ticks = list(_ticks(due, now))
    jobs = [_tick_job(due, tick) for tick in _chosen(due, ticks, now)]
    submitted = submission.insert(jobs, gated=False) if jobs else []
    if history.recorder is not None:
        after_commit(_note, history.recorder, jobs, submitted)
    due.last_tick_at = ticks[-1]
    due.next_tick_at = next_tick(due.cron, due.tz, ticks[-1])
    due.last_error = ""
    due.save(update_fields=["last_tick_at", "next_tick_at", "last_error"])
    return sum(item.created for item in submitted)


def _note(recorder: history.Recorder, jobs: Sequence[NewJob], submitted: Sequence[Submitted]) -> None:
    for job, item in zip(jobs, submitted, strict=True):
        _, name, tick = job.identity.split(":", 2)
        event = {"job": item.job.id, "schedule": name, "tick": tick}
        recorder.note("ok" if item.created else "fail", "tick", [event])


def _ticks(due: Schedule, now: datetime) -> Iterator[datetime]:
    """Ticks that have come, oldest first; only ALL needs those before the latest."""
    if due.missed != MissedTicks.ALL:
        yield max(due.next_tick_at, _latest_tick(due.cron, due.tz, now))
        return
    tick = due.next_tick_at
    for _ in range(TICKS_PER_ROUND):
        yield tick
        tick = next_tick(due.cron, due.tz, tick)
        if tick > now:
            return


def _chosen(due: Schedule, ticks: list[datetime], now: datetime) -> list[datetime]:
    match due.missed:
        case MissedTicks.ALL:
            return ticks
        case MissedTicks.LATEST:
            return ticks[-1:]
    return [tick for tick in ticks[-1:] if (now - tick).total_seconds() <= MISSED_AFTER_SECONDS]


def _tick_job(due: Schedule, tick: datetime) -> NewJob:
    request = JobRequest(due.kind, due.params, due.farm_id, Priority(due.priority).word)
    origin = Origin(identity=f"tick:{due.name}:{tick.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return prepare(request, owner=due.owner, origin=origin)
