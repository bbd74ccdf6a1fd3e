"""The job's life in any order: the real functions on the real Postgres, beside a reference that fits on a page.

Hypothesis chooses the steps, stale leases and repeated claims among them, and shortens what fails. Time passes where a
step says so: leases and delays are so long that none runs out by itself. A run in which something never came about, a
stale finish of a rescued job or a lease that ran out at the ceiling, proves nothing and fails.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Final
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from dispatch.testing import RecordingDispatcher
from jobs import prepared, sql, sweeper
from jobs.cancellation import cancel
from jobs.claim import Claimed, Key, Refusal, hand_back, hand_back_unstarted, try_claim, try_claim_all
from jobs.context import Done
from jobs.epochs import EpochWatch
from jobs.errors import DeadLetterNotFound, NotCancellable, Permanent, Poison, Retryable, StaleLease
from jobs.finish import fail, finish, finish_all
from jobs.heartbeat import renew
from jobs.models import Job, JobEvent
from jobs.replays import Caller, replay
from jobs.states import OPEN, State
from jobs.submission import submit
from jobs.sweeper import Sweeper
from tests.integration.interleaving.run import refuse_void
from tests.integration.invariants import violations
from tests.integration.jobs.scenario import empty_tables, move_back, see_pools, trust_leases

#: Its effect is a row in the same database, its lease is the longest.
KIND: Final = "probe.cpu"
OWNER: Final = "ada"

#: So few that a short run reaches the ceiling.
MAX_ATTEMPTS: Final = 2

DELAY: Final = timedelta(hours=1)

#: As the docstring of jobs.models.Job draws them.
EDGES: Final = {
    ("", "QUEUED"),
    ("QUEUED", "RUNNING"),
    ("QUEUED", "CANCELLED"),
    *(("RUNNING", then) for then in ("RUNNING", "QUEUED", "SUCCEEDED", "FAILED", "CANCELLED")),
}

WORKERS: Final = st.sampled_from(["worker-1", "worker-2"])
PICK: Final = st.integers(0, 31)
SELDOM: Final = st.sampled_from([False, False, False, True])


@dataclass
class Row:
    """What a job's row should be."""

    id: UUID
    request: int
    is_early: bool
    state: str = "QUEUED"
    attempt: int = 0
    token: int = 0
    leased_by: str = ""
    is_over: bool = False  #: its lease ran out
    effects: int = 0
    reason: str = ""  #: of its dead letter

    @property
    def is_claimable(self) -> bool:
        if self.attempt >= MAX_ATTEMPTS:
            return False
        return (self.state == "QUEUED" and not self.is_early) or (self.state == "RUNNING" and self.is_over)

    @property
    def refusal(self) -> Refusal:
        if self.state not in OPEN:
            return Refusal.TERMINAL
        return Refusal.NOT_DUE if self.state == "QUEUED" and self.is_early else Refusal.DUPLICATE

    def is_leased(self, lease: Claimed) -> bool:
        return self.state == "RUNNING" and self.token == lease.lease_token

    def begin(self, worker: str, *, sends: int = 1) -> None:
        self.state, self.leased_by, self.is_over = "RUNNING", worker, False
        self.attempt += 1
        self.token += sends

    def leave(self, state: str, *, reason: str = "") -> None:
        """Every way out of an open state."""
        self.state, self.leased_by, self.is_over, self.reason = state, "", False, reason
        self.token += 1


class Life(RuleBasedStateMachine):
    """One owner, three requests, two workers, one sweeper. A number picks a job or a lease, mostly one that fits."""

    def __init__(self, broker: RecordingDispatcher, seen: Counter[str]) -> None:
        super().__init__()
        empty_tables()
        see_pools()
        self.broker = broker
        self.seen = seen
        self.sweeper = Sweeper(epochs=EpochWatch(lambda: "key-1:replid-1"))
        self.rows: dict[UUID, Row] = {}
        self.leases: list[Claimed] = []  #: all that were ever won

    # -- asked for ----------------------------------------------------------------------------------------------------
    @rule(request=st.integers(0, 2), is_delayed=SELDOM)
    def submit(self, request: int, is_delayed: bool) -> None:
        not_before = timezone.now() + DELAY if is_delayed else None
        answer = submit(KIND, owner=OWNER, params={"tag": str(request)}, not_before=not_before)
        live = self.live(request)
        assert answer.created == (live is None)
        if live:
            self.seen["submit met a job"] += 1
            assert (answer.job.id, answer.job.state) == (live.id, live.state)
        else:
            self.enter(answer.job.id, request, is_early=is_delayed)

    @precondition(lambda self: self.rows)
    @rule(pick=PICK)
    def replay(self, pick: int) -> None:
        dead = self.row(pick, lambda row: row.state == "FAILED")
        if dead.state != "FAILED":
            with pytest.raises(DeadLetterNotFound):
                replay(dead.id, Caller(OWNER))
            return
        answer, live = replay(dead.id, Caller(OWNER)), self.live(dead.request)
        self.seen["replay joined" if live else "replay created"] += 1
        assert answer.created == (live is None)
        if live:
            assert answer.job.id == live.id
        else:
            self.enter(answer.job.id, dead.request, is_early=False)

    @precondition(lambda self: self.rows)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        row = self.row(pick, lambda row: row.state in OPEN)
        if row.state not in OPEN:
            with pytest.raises(NotCancellable):
                cancel(row.id, owner=OWNER)
            return
        self.seen[f"cancelled {row.state}"] += 1
        assert cancel(row.id, owner=OWNER).was == row.state
        row.leave("CANCELLED")

    # -- claimed ------------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.rows)
    @rule(pick=PICK, worker=WORKERS)
    def claim(self, pick: int, worker: str) -> None:
        row = self.row(pick, lambda row: row.is_claimable)
        self.answered(row, worker, try_claim(row.id, leased_by=worker), may_win=row.is_claimable)

    @precondition(lambda self: self.rows)
    @rule(pick=PICK, worker=WORKERS)
    def claim_whose_first_answer_is_lost(self, pick: int, worker: str) -> None:
        """The second finds what the first won: one attempt, and the first one's token is stale."""
        row, key = self.row(pick, lambda row: row.is_claimable), Key()
        may_win = row.is_claimable
        lost = try_claim(row.id, leased_by=worker, key=key)
        answer = try_claim(row.id, leased_by=worker, key=key)
        if isinstance(lost, Claimed):
            self.leases.append(lost)
        self.answered(row, worker, answer, may_win=may_win, sends=2)

    @precondition(lambda self: self.rows)
    @rule(picks=st.lists(PICK, min_size=2, max_size=3), worker=WORKERS, is_late=st.booleans())
    def claim_together(self, picks: list[int], worker: str, is_late: bool) -> None:
        """Of several it wins those that were never tried."""
        rows = {row.id: row for row in (self.row(pick, lambda row: row.state in OPEN) for pick in picks)}
        for row in rows.values():
            if is_late:
                self.pass_time(row)
        wins = {one: row.is_claimable and (len(rows) == 1 or row.attempt == 0) for one, row in rows.items()}
        self.seen["tried before, and not won together"] += any(
            row.is_claimable and not wins[one] for one, row in rows.items()
        )
        answers = try_claim_all(list(rows), leased_by=worker)
        assert list(answers) == list(rows)
        for one, answer in answers.items():
            self.answered(rows[one], worker, answer, may_win=wins[one])

    @precondition(lambda self: self.rows)
    @rule(pick=PICK, worker=WORKERS)
    def lose_and_claim(self, pick: int, worker: str) -> None:
        """What a freeze, or the death of a worker, comes to."""
        row = self.row(pick, lambda row: row.state == "RUNNING" and row.attempt < MAX_ATTEMPTS)
        self.pass_time(row)
        self.answered(row, worker, try_claim(row.id, leased_by=worker), may_win=row.is_claimable)

    @precondition(lambda self: self.rows)
    @rule(pick=PICK, worker=WORKERS)
    def renew_late(self, pick: int, worker: str) -> None:
        self.pass_time(self.row(pick, lambda row: row.state == "RUNNING"))
        self.renew(worker)

    @rule(worker=WORKERS)
    def renew(self, worker: str) -> None:
        """Also a lease that ran out, while nobody has taken the job."""
        held = self.held_by(worker)
        self.seen["renewed too late, and nobody had taken it"] += any(row.is_over for row in held)
        assert renew(worker, list(self.rows)) == {row.id for row in held}
        for row in held:
            row.is_over = False

    # -- ended --------------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.leases)
    @rule(pick=PICK)
    def finish(self, pick: int) -> None:
        lease, row = self.lease(pick)
        if row.is_leased(lease):
            finish(lease, done(lease))
            self.succeed(row)
        else:
            self.see_stale(row)
            with refused("finish", lease, row):
                finish(lease, done(lease))

    @precondition(lambda self: self.leases)
    @rule(pick=PICK)
    def finish_whose_effect_raises(self, pick: int) -> None:
        """Nothing of it stays, and the attempt still runs."""
        lease, row = self.lease(pick)

        def refuse() -> None:
            raise EffectFailed

        with pytest.raises(EffectFailed) if row.is_leased(lease) else refused("finish", lease, row):
            finish(lease, Done(effects=[effect_of(lease), refuse]))

    @precondition(lambda self: self.leases)
    @rule(picks=st.lists(PICK, min_size=2, max_size=3))
    def finish_together(self, picks: list[int]) -> None:
        attempts = {lease.id: (lease, row) for lease, row in map(self.lease, picks)}
        stale = {one for one, (lease, row) in attempts.items() if not row.is_leased(lease)}
        self.seen["finished together, one of them stale"] += 0 < len(stale) < len(attempts)
        found = finish_all([(lease, done(lease)) for lease, _ in attempts.values()])
        assert stale <= found, "a stale finish was accepted, together with others"
        assert found <= stale, "a finish was refused as stale, and its lease was good"
        for one, (_, row) in attempts.items():
            if one not in stale:
                self.succeed(row)

    @precondition(lambda self: self.leases)
    @rule(pick=PICK, is_delayed=SELDOM)
    def fail_so_that_it_is_repeated(self, pick: int, is_delayed: bool) -> None:
        error = Retryable(after=DELAY.total_seconds() if is_delayed else 0.0)
        lease, row = self.lease(pick)
        if not row.is_leased(lease):
            self.see_stale(row)
            with refused("retry", lease, row):
                fail(lease, error)
        elif row.attempt < MAX_ATTEMPTS:
            assert fail(lease, error) == State.QUEUED
            row.leave("QUEUED")
            row.is_early = is_delayed
        else:
            assert fail(lease, error) == State.FAILED
            row.leave("FAILED", reason="attempts_exhausted")

    @precondition(lambda self: self.leases)
    @rule(pick=PICK, error=st.sampled_from([Permanent, Poison]))
    def fail_for_good(self, pick: int, error: type[Permanent | Poison]) -> None:
        lease, row = self.lease(pick)
        if row.is_leased(lease):
            assert fail(lease, error("no")) == State.FAILED
            row.leave("FAILED", reason="permanent" if error is Permanent else "poison")
        else:
            with refused("fail", lease, row):
                fail(lease, error("no"))

    @rule(worker=WORKERS)
    def hand_back(self, worker: str) -> None:
        held = self.held_by(worker)
        assert hand_back(list(self.rows), worker) == len(held)
        self.give_back(held)

    @precondition(lambda self: self.leases)
    @rule(pick=PICK)
    def hand_back_unstarted(self, pick: int) -> None:
        lease, row = self.lease(pick)
        held = [row] if row.is_leased(lease) else []
        self.seen["handed back unstarted, and stale"] += row in self.held_by(lease.leased_by) and not held
        assert hand_back_unstarted([lease], lease.leased_by) == len(held)
        self.give_back(held)

    # -- time and the sweeper -----------------------------------------------------------------------------------------
    @precondition(lambda self: self.rows)
    @rule(pick=PICK)
    def time_passes(self, pick: int) -> None:
        self.pass_time(self.row(pick, lambda row: row.state == "RUNNING" or row.is_early))

    @rule()
    def sweep(self) -> None:
        due = set(ids("SELECT id FROM job WHERE state IN ('QUEUED', 'RUNNING') AND next_dispatch_at <= now()"))
        lost = [row for row in self.rows.values() if row.is_over and row.attempt >= MAX_ATTEMPTS]
        self.broker.hints.clear()
        trust_leases(self.sweeper)
        assert self.sweeper.tick().failed_lost == len(lost), (
            "a lease that ran out at the ceiling was not failed, or more"
        )
        for row in lost:
            self.seen["lost at the ceiling"] += 1
            row.leave("FAILED", reason="worker_lost")
        claimable = {row.id for row in self.rows.values() if row.is_claimable}
        hinted = {hint.job_id for hint in self.broker.hints}
        self.seen["swept a lease that ran out"] += any(self.rows[one].is_over for one in hinted)
        assert due & claimable <= hinted, "the sweeper left out what was due"
        assert hinted <= claimable, "the sweeper hinted what no claim can win"

    # -- what must hold -----------------------------------------------------------------------------------------------
    @invariant()
    def rows_are_as_expected(self) -> None:
        known = self.rows
        found = {job: Row(job, known[job].request, known[job].is_early, *values) for job, *values in look()}
        assert found == self.rows, next(differences(found, self.rows))

    @invariant()
    def one_request_has_one_live_job(self) -> None:
        live = [row.request for row in self.rows.values() if is_live(row)]
        assert len(live) == len(set(live))

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert all(row.attempt <= MAX_ATTEMPTS and row.effects <= 1 for row in self.rows.values())

    def teardown(self) -> None:
        for job in self.rows:
            check_timeline(list(JobEvent.objects.filter(job_id=job).order_by("id")))
        if broken := list(violations()):
            raise AssertionError("; ".join(broken))

    # -- words --------------------------------------------------------------------------------------------------------
    def row(self, pick: int, fits: Callable[[Row], bool]) -> Row:
        """Newest first; three times out of four one that fits, where there is one."""
        rows = list(reversed(self.rows.values()))
        fitting = [row for row in rows if fits(row)]
        chosen = fitting if fitting and pick % 4 != 3 else rows
        return chosen[pick // 4 % len(chosen)]

    def lease(self, pick: int) -> tuple[Claimed, Row]:
        """One that holds, or a stale one of a job that runs, or any; newest first."""
        pairs = [(lease, self.rows[lease.id]) for lease in reversed(self.leases)]
        holding = [pair for pair in pairs if pair[1].is_leased(pair[0])]
        stale = [pair for pair in pairs if pair[1].state == "RUNNING" and pair not in holding]
        chosen = (holding, stale, holding, pairs)[pick % 4] or pairs
        return chosen[pick // 4 % len(chosen)]

    def live(self, request: int) -> Row | None:
        return next((row for row in self.rows.values() if row.request == request and is_live(row)), None)

    def held_by(self, worker: str) -> list[Row]:
        return [row for row in self.rows.values() if row.state == "RUNNING" and row.leased_by == worker]

    def enter(self, job: UUID, request: int, *, is_early: bool) -> None:
        Job.objects.filter(id=job).update(max_attempts=MAX_ATTEMPTS)
        self.rows[job] = Row(job, request, is_early)

    def answered(self, row: Row, worker: str, answer: Claimed | Refusal, *, may_win: bool, sends: int = 1) -> None:
        """What a claim came to, against what it should."""
        if not may_win:
            assert answer is row.refusal, f"a claim of a job that is {row.state} was answered {told(answer)}"
            return
        self.seen["rescued" if row.is_over else "claimed"] += 1
        row.begin(worker, sends=sends)
        assert isinstance(answer, Claimed), f"a claim of a job that is due was refused: {answer}"
        wrong = f"a claim won token {answer.lease_token}, attempt {answer.attempt}, not {row.token} and {row.attempt}"
        assert (answer.lease_token, answer.attempt) == (row.token, row.attempt), wrong
        self.leases.append(answer)

    def see_stale(self, row: Row) -> None:
        self.seen[f"stale end of {row.state}"] += 1

    def succeed(self, row: Row) -> None:
        row.leave("SUCCEEDED")
        row.effects += 1

    def give_back(self, held: list[Row]) -> None:
        for row in held:
            self.seen["handed back"] += 1
            row.leave("QUEUED")
            row.attempt -= 1

    def pass_time(self, row: Row) -> None:
        """For one job: its lease, its delay and the grace of its hint are over."""
        move_back(Job(id=row.id), 2 * DELAY.total_seconds())
        row.is_over = row.state == "RUNNING"
        row.is_early = False


class EffectFailed(Exception):
    """Out of an effect."""


@contextmanager
def refused(what: str, lease: Claimed, row: Row) -> Iterator[None]:
    """Who has lost the lease ends nothing, and nothing of the end is tried."""
    facts = f"token {lease.lease_token} of a job that is {row.state} with token {row.token}"
    try:
        yield
    except StaleLease:
        return
    except EffectFailed:
        raise AssertionError(f"a stale {what} came to its effects: {facts}") from None
    raise AssertionError(f"a stale {what} was accepted: {facts}")


def told(answer: Claimed | Refusal) -> str:
    return f"token {answer.lease_token}" if isinstance(answer, Claimed) else str(answer)


def differences(found: Mapping[UUID, Row], wanted: Mapping[UUID, Row]) -> Iterator[str]:
    for job in wanted.keys() | found.keys():
        if job not in found or job not in wanted:
            yield "a job was lost" if job in wanted else "a job is there that nobody asked for"
            continue
        is_, should = asdict(found[job]), asdict(wanted[job])
        if wrong := [f"{name} {is_[name]!r}, not {should[name]!r}" for name in is_ if is_[name] != should[name]]:
            yield f"a job that should be {wanted[job].state} has {', '.join(wrong)}"


def is_live(row: Row) -> bool:
    """Whether it stands for its request: an equal one is answered with it."""
    return row.state not in ("FAILED", "CANCELLED")


def effect_of(lease: Claimed) -> Callable[[], None]:
    return lambda: prepared.execute(sql.COUNT_PROBE, {"id": lease.id})


def done(lease: Claimed) -> Done:
    return Done(effects=[effect_of(lease)])


def ids(query: str) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return [row[0] for row in cursor.fetchall()]


def look() -> Iterator[tuple[object, ...]]:
    """Per job what Row holds behind `is_early`. A holder's name counts while it holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT job.id, state, attempt, lease_token, CASE WHEN state = 'RUNNING' THEN leased_by ELSE '' END,"
            " coalesce(lease_until < clock_timestamp(), false), coalesce(n, 0), coalesce(reason, '')"
            " FROM job LEFT JOIN probe_count ON job_id = job.id LEFT JOIN dead_letter ON dead_letter.job_id = job.id"
        )
        yield from cursor.fetchall()


def check_timeline(events: list[JobEvent]) -> None:
    steps = [(event.from_state, event.to_state) for event in events]
    assert set(steps) <= EDGES
    assert all(before[1] == after[0] for before, after in pairwise([("", ""), *steps])), steps
    tokens = [event.lease_token for event in events]
    assert all(before < after for before, after in pairwise(tokens)), f"a step did not raise the token: {tokens}"


#: What a run must have come across at least once.
SOMETIMES: Final = (
    *("submit met a job", "cancelled QUEUED", "cancelled RUNNING", "claimed", "rescued", "handed back"),
    *("stale end of RUNNING", "stale end of QUEUED", "lost at the ceiling", "swept a lease that ran out"),
)


def test_any_life_keeps_the_promises(monkeypatch: pytest.MonkeyPatch, broker: RecordingDispatcher) -> None:
    monkeypatch.setattr(sweeper, "ready_depth", lambda _pool: 0)
    seen: Counter[str] = Counter()
    run_state_machine_as_test(
        lambda: Life(broker, seen),
        settings=settings(
            max_examples=100,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    refuse_void(seen, SOMETIMES)


# -- by hand: a number as in `Life.row` and `Life.lease`; 0 = the newest that fits, 4 = the one before it ------------
@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch, broker: RecordingDispatcher) -> Iterator[Life]:
    monkeypatch.setattr(sweeper, "ready_depth", lambda _pool: 0)
    made = Life(broker, Counter())
    yield made
    made.teardown()


def take(life: Life, *steps: Callable[[], object]) -> None:
    """Each step compares what the functions answer with the reference; the rows are compared after each."""
    for step in steps:
        step()
        life.rows_are_as_expected()
        life.one_request_has_one_live_job()
        life.attempts_are_bounded()


def test_a_replay_is_created_once_and_joined_while_it_is_open_and_when_it_has_succeeded(life: Life) -> None:
    take(
        life,
        lambda: life.submit(request=0, is_delayed=False),
        lambda: life.claim(pick=0, worker="worker-1"),
        lambda: life.fail_for_good(pick=0, error=Permanent),
        lambda: life.replay(pick=0),
    )
    assert (life.seen["replay created"], life.seen["replay joined"]) == (1, 0)
    take(
        life,
        lambda: life.replay(pick=0),
        lambda: life.claim(pick=0, worker="worker-2"),
        lambda: life.replay(pick=0),
        lambda: life.finish(pick=0),
        lambda: life.replay(pick=0),
    )
    assert (life.seen["replay created"], life.seen["replay joined"]) == (1, 3)
    assert [row.state for row in life.rows.values()] == ["FAILED", "SUCCEEDED"]


def test_what_was_tried_before_is_not_won_together_and_is_won_alone(life: Life) -> None:
    take(
        life,
        lambda: life.submit(request=0, is_delayed=False),
        lambda: life.claim(pick=0, worker="worker-1"),
        lambda: life.fail_so_that_it_is_repeated(pick=0, is_delayed=False),
        lambda: life.submit(request=1, is_delayed=False),
        lambda: life.claim_together(picks=[0, 4], worker="worker-2", is_late=False),
    )
    assert life.seen["tried before, and not won together"] == 1
    assert [(row.state, row.attempt) for row in life.rows.values()] == [("QUEUED", 1), ("RUNNING", 1)]
    take(life, lambda: life.claim(pick=0, worker="worker-2"))
    assert [(row.state, row.attempt) for row in life.rows.values()] == [("RUNNING", 2), ("RUNNING", 1)]


def test_a_stale_lease_of_the_worker_that_holds_the_job_again_hands_nothing_back(life: Life) -> None:
    take(
        life,
        lambda: life.submit(request=0, is_delayed=False),
        lambda: life.claim(pick=0, worker="worker-1"),
        lambda: life.lose_and_claim(pick=0, worker="worker-1"),
        lambda: life.hand_back_unstarted(pick=1),  # 1 = a stale one of a job that runs
    )
    assert life.seen["handed back unstarted, and stale"] == 1
    assert (life.seen["handed back"], [row.state for row in life.rows.values()]) == (0, ["RUNNING"])
    take(life, lambda: life.hand_back_unstarted(pick=0))
    assert (life.seen["handed back"], [row.state for row in life.rows.values()]) == (1, ["QUEUED"])


def test_a_stale_end_that_is_not_refused_is_named(life: Life) -> None:
    take(
        life,
        lambda: life.submit(request=0, is_delayed=False),
        lambda: life.claim(pick=0, worker="worker-1"),
        lambda: life.lose_and_claim(pick=0, worker="worker-2"),
    )
    lease, row = life.lease(1)
    facts = "token 1 of a job that is RUNNING with token 2"
    with refused("finish", lease, row):
        raise StaleLease
    with pytest.raises(AssertionError, match=f"a stale finish was accepted: {facts}"), refused("finish", lease, row):
        pass
    with pytest.raises(AssertionError, match=f"came to its effects: {facts}"), refused("finish", lease, row):
        raise EffectFailed


def test_a_row_that_is_not_as_expected_is_told_by_what_differs(life: Life) -> None:
    take(life, lambda: life.submit(request=0, is_delayed=False))
    (row,) = life.rows.values()
    twice = {row.id: replace(row, effects=2)}
    assert list(differences(twice, life.rows)) == ["a job that should be QUEUED has effects 2, not 0"]
    assert list(differences({}, life.rows)) == ["a job was lost"]
    assert list(differences(life.rows, life.rows)) == []
