"""What operators do, at the worst moment: hand over, replay in bulk, run a service twice, owe hundreds of ticks,
roll out a release."""

from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Final

from scripts.chaos.faults import Fault, restored
from scripts.chaos.scene import WORKERS, Scene
from scripts.stack import handover
from scripts.stack.api_client import ApiClient
from scripts.stack.errors import StackError

#: Jobs per second that a replay may start: the most that the API takes.
_REPLAY_RATE = 1000
#: What fails by itself; what kills its worker would do so five times more.
_REPLAYED = "attempts_exhausted"
#: Letters of a storm's own; how many of them are replayed once more, and by how many calls at once.
_LETTERS, _AGAIN, _AT_ONCE = 300, 60, 4
_SCALABLE = ("sweeper", "bridge")
_RELEASED: Final = (*WORKERS, "web", "bridge", "sweeper")
#: Schedules of a storm, and minutes that each of them missed: so many jobs are due in one moment.
_SCHEDULES, _MISSED = 20, 30

#: As if the sweeper had been away: the first tick lies `missed` minutes back, and none may be left out.
_OWE: Final = """
INSERT INTO schedule (name, owner, cron, tz, kind, farm_id, params, priority, missed, paused, next_tick_at, last_error,
    created_at)
SELECT 'chaos-' || :'dice' || '-' || number, 'default', '* * * * *', 'UTC', 'probe.fast', 'chaos',
    jsonb_build_object('tag', :'tag' || '-tick-' || number, 'work_ms', 0), 3, 'all', false,
    date_trunc('minute', now()) - make_interval(mins => :'missed'::int - 1), '',
    date_trunc('minute', now()) - make_interval(mins => :'missed'::int)
FROM generate_series(1, :'schedules'::int) AS number;
"""
#: What is due fires first; a storm that ended between two of its ticks owes nothing.
_END_STORM: Final = """
UPDATE schedule SET paused = true WHERE name LIKE 'chaos-%' AND NOT paused AND next_tick_at > now();
SELECT count(*) FROM schedule WHERE name LIKE 'chaos-%' AND NOT paused;
"""
#: Dead jobs with their letters, as a bad release leaves them; nothing is wrong with them, so that a replay succeeds. No
#: client was told of them: judges see ticks of a schedule that is gone, which repeat what retention has forgotten. They
#: end now: an old end would be a pause in the flow. Out: the letters.
_DIE: Final = """
WITH dead AS (
    SELECT gen_random_uuid() AS id, number FROM generate_series(1, :'letters'::int) AS number
), died AS (
    INSERT INTO job (id, root_id, replay_of_id, owner, identity, request_hash, hash_version, kind, pool, farm_id,
        params, priority, state, attempt, max_attempts, next_dispatch_at, grace_seconds, accepted_at, finished_at,
        files)
    SELECT id, id, gen_random_uuid(), 'default', 'tick:chaos-letters-' || :'dice' || ':' || number,
        repeat(md5(id::text), 2), 1, 'probe.fast', 'fast', 'chaos',
        jsonb_build_object('tag', :'tag' || '-letter-' || number, 'work_ms', 0), 3, 'FAILED', 5, 5, now(), 10, now(),
        now(), '[]'::jsonb
    FROM dead
    RETURNING *
)
INSERT INTO dead_letter (id, job_id, owner, kind, pool, reason, original_id, delivery_count, payload, accepted_at)
SELECT id, id, owner, kind, pool, :'reason', id::text, attempt,
    jsonb_build_object('kind', kind, 'farm_id', farm_id, 'params', params, 'callback_url', callback_url,
        'priority', priority),
    accepted_at
FROM died
RETURNING id;
"""


class Handover(Fault):
    """`make handover` under load."""

    def inject(self) -> None:
        former = self.scene.primary()
        self.hit = f"{former} -> {handover.hand_over(self.scene.nodes)}"


class ReplayStorm(Fault):
    """Every dead letter of jobs that failed is replayed at once, hundreds among them that it makes; some of these
    once more, while their jobs are new.
    """

    def inject(self) -> None:
        client = ApiClient.of(self.scene.stack)
        made = {"dice": str(self.step.dice), "letters": str(_LETTERS), "reason": _REPLAYED}
        letters = self.scene.truth.rows(_DIE, tag=self.scene.tag, **made)
        created = _replay_all(client)
        if not created:
            raise StackError("no dead letter was replayed", fix="make dlq")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            again = list(pool.map(lambda letter: client.post(f"/dead-letters/{letter}/replay", {}), letters[:_AGAIN]))
        anew = sum(answer["created"] for answer in again)
        self.hit = f"{created} jobs replayed; {len(again)} of the letters again: {anew} jobs more"


def _replay_all(client: ApiClient) -> int:
    """Jobs that came of it. Raises StackError."""
    cursor, created = None, 0
    body = {"filter": {"reason": _REPLAYED}, "rate": _REPLAY_RATE}
    while True:
        answer = client.post("/dead-letters/replay", {**body, "cursor": cursor})
        created += answer["created"]
        cursor = answer["next_cursor"]
        if cursor is None:
            return int(created)


class RollingRestart(Fault):
    """Every service of the application is restarted, one after the other, as for a new release."""

    is_taken_over = False

    def inject(self) -> None:
        services = list(_RELEASED)
        Random(self.step.dice).shuffle(services)
        for service in services:
            self.scene.containers.restart(service)
        self.hit = ", ".join(services)

    def heal(self) -> None:
        restored(self.scene, *_RELEASED)


class ScheduleStorm(Fault):
    """Schedules whose every tick counts have missed half an hour: all is due at once, and each minute more."""

    def inject(self) -> None:
        counts = {"schedules": str(_SCHEDULES), "missed": str(_MISSED)}
        self.scene.truth.rows(_OWE, dice=str(self.step.dice), tag=self.scene.tag, **counts)
        self.hit = f"{_SCHEDULES * _MISSED} ticks of {_SCHEDULES} schedules"

    def heal(self) -> None:
        end_storms(self.scene)


def end_storms(scene: Scene) -> None:
    """No further tick. Raises StackError while one is due that the sweeper has not fired."""
    if (left := scene.truth.rows(_END_STORM)) != ["0"]:
        raise StackError(f"{''.join(left)} schedules still have ticks that are due", fix="make logs SERVICE=sweeper")


class Twice(Fault):
    """A second container of a service that is meant to be one."""

    def inject(self) -> None:
        scale(self.scene, self.step.target, 2)

    def heal(self) -> None:
        scale(self.scene, self.step.target, 1)


def scale(scene: Scene, service: str, count: int) -> None:
    """As `docker compose up --scale`, touching nothing else. Raises StackError."""
    compose = scene.compose
    argv = compose.argv("up", "--detach", "--no-deps", "--no-recreate", "--scale", f"{service}={count}", service)
    compose.read(argv)


def single(scene: Scene) -> None:
    """One container of each service that a fault may have doubled. Raises StackError."""
    for service in _SCALABLE:
        if len(scene.containers.ids(service)) > 1:
            scale(scene, service, 1)
