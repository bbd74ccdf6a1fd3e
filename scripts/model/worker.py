"""Workers: a message becomes a claim, a lease, an effect and an end."""

from scripts.model.world import (
    IDLE,
    MAX_ATTEMPTS,
    Fault,
    Flaw,
    Job,
    State,
    Step,
    Steps,
    Worker,
    World,
    changed,
    fault,
    holds,
    turned,
)


def steps(world: World, state: State) -> Steps:
    for number, worker in enumerate(state.workers):
        match worker.phase:
            case "":
                yield from deliver(world, state, number)
                continue
            case "hint" | "asking":
                yield from claim(world, state, number)
            case "running" if world.flaw is Flaw.EFFECT_OUTSIDE:
                yield apply(state, number)
                yield from fail(world, state, number)
            case "running" | "applied":
                yield from finish(world, state, number)
                yield from fail(world, state, number)
        yield from renew(state, number)
        yield from hand_back(world, state, number)
        yield from die(world, state, number)


def deliver(world: World, state: State, number: int) -> Steps:
    """kombu's BRPOP: the message is in the worker's hand alone. What it notes in `unacked`, a round trip later, brings
    a killed worker's message back after the visibility timeout, or does not: the model gives no credit for it."""
    for job, it in enumerate(state.jobs):
        if it.listed:
            taken = changed(state, job, listed=False, unacked=world.flaw is Flaw.GATED_ON_UNACKED)
            after = turned(taken, number, Worker("hint", job))
            yield Step("worker {worker} takes the message of job {job}", after, job=job, worker=number)


def claim(world: World, state: State, number: int) -> Steps:
    """`jobs.claim.try_claim_all` → sql.CLAIM.

    Sent again, because its answer was lost, it finds by its key the lease that it won: no new attempt. The message of
    a claim that wins nothing is acknowledged.
    """
    worker = state.workers[number]
    job, row = worker.job, state.jobs[worker.job]
    won = _claimed(world, state, number)
    if won is None:
        after = _idle(state, number)
        yield Step("worker {worker} claims job {job} and wins nothing", after, job=job, worker=number)
        return
    claimed, verb = changed(state, job, **won._asdict()), "rescues" if row.status == "RUNNING" else "claims"
    verb = "claims again" if holds(worker, job, row) else verb
    running = turned(claimed, number, Worker("running", job, won.token))
    text = "worker {worker} " + f"{verb} job {{job}}: attempt {won.attempt}, token "
    yield Step(text + "{token}", running, job=job, worker=number)
    if world.may(state, Fault.ANSWER_LOST):
        asking = turned(claimed, number, Worker("asking", job, won.token))
        yield fault(text + "{token}; the answer is lost", asking, job, number)


def apply(state: State, number: int) -> Step:
    """No function of the application does this: an effect outside the finish's transaction."""
    worker = state.workers[number]
    applied = changed(state, worker.job, effects=state.jobs[worker.job].effects + 1)
    after = turned(applied, number, worker._replace(phase="applied"))
    return Step("worker {worker} applies the effect of job {job}", after, job=worker.job, worker=number)


def finish(world: World, state: State, number: int) -> Steps:
    """`jobs.finish.finish_all` → sql.FINISH, and the effects, in one transaction behind the fence.

    Sent again when its answer was lost (`jobs.execution._end`), it meets the fence.
    """
    worker = state.workers[number]
    job, row = worker.job, state.jobs[worker.job]
    if not _passes_fence(world, worker, row):
        text = "worker {worker} comes too late to finish job {job}: its token {token} is stale"
        yield Step(text, _idle(state, number), job=job, worker=number)
        return
    applies = worker.phase == "running" and world.flaw is not Flaw.EFFECT_AFTER_FINISH
    after = changed(state, job, status="SUCCEEDED", clock="", token=row.token + 1, effects=row.effects + applies)
    text = "worker {worker} finishes job {job}" + (" with its effect" if applies else "")
    yield Step(text, _idle(after, number), job=job, worker=number, ends_attempt=True)
    if world.may(state, Fault.ANSWER_LOST):
        yield fault(text + "; the answer is lost", after, job, number)._replace(ends_attempt=True)


def fail(world: World, state: State, number: int) -> Steps:
    """The handler raises: `jobs.finish.fail` → sql.RETRY, or sql.FAIL at the ceiling, behind the fence."""
    if not world.may(state, Fault.HANDLER_RAISES):
        return
    worker = state.workers[number]
    job, row = worker.job, state.jobs[worker.job]
    if not _passes_fence(world, worker, row):
        text = "worker {worker} comes too late to fail job {job}"
        yield fault(text, _idle(state, number), job, number)
        return
    after = changed(state, job, **_failed(world, row)._asdict())
    text = "worker {worker} fails job {job}: " + ("dead letter" if row.attempt >= MAX_ATTEMPTS else "to be repeated")
    yield fault(text, _idle(after, number), job, number)._replace(ends_attempt=True)


def renew(state: State, number: int) -> Steps:
    """`worker.leases.LeaseKeeper.beat` → `jobs.heartbeat.renew` (sql.RENEW): also a lease that is over, while nobody
    has taken the job. Before it is over a renewal changes nothing that the model sees."""
    worker = state.workers[number]
    row = state.jobs[worker.job]
    if row.clock.startswith("over") and holds(worker, worker.job, row):
        after = changed(state, worker.job, clock="held")
        yield Step("worker {worker} renews its lease of job {job}", after, job=worker.job, worker=number)


def hand_back(world: World, state: State, number: int) -> Steps:
    """`worker.handback.hand_back` → `jobs.claim.hand_back` (sql.HAND_BACK) at a stop: due now, attempt restored."""
    worker = state.workers[number]
    job, row = worker.job, state.jobs[worker.job]
    if not (world.may(state, Fault.WORKER_STOPS) and holds(worker, job, row)):
        return
    kept = world.flaw is Flaw.HAND_BACK_RAISES_NOTHING
    attempt = row.attempt - (world.flaw is not Flaw.ATTEMPT_KEPT_AT_HAND_BACK)
    after = changed(state, job, status="QUEUED", clock="due", attempt=attempt, token=row.token + (not kept))
    text = "worker {worker} is stopped and hands job {job} back"
    yield fault(text, _idle(after, number), job, number)._replace(ends_attempt=True)


def die(world: World, state: State, number: int) -> Steps:
    """SIGKILL: its message is gone, its lease stands until it runs out."""
    if world.may(state, Fault.WORKER_DIES):
        yield fault("worker {worker} dies", turned(state, number, IDLE), state.workers[number].job, number)


def _claimed(world: World, state: State, number: int) -> Job | None:
    """The row as a claim of this worker makes it; None = it wins nothing."""
    worker = state.workers[number]
    row = state.jobs[worker.job]
    if holds(worker, worker.job, row):
        attempt = row.attempt + (world.flaw is Flaw.RESENT_CLAIM_COUNTS)
        return row._replace(clock="held", attempt=attempt, token=row.token + 1)
    if not _is_claimable(world, row):
        return None
    is_rescue = row.status == "RUNNING"
    return row._replace(
        status="RUNNING",
        clock="held",
        attempt=row.attempt + 1,
        token=row.token + (not (is_rescue and world.flaw is Flaw.RESCUE_RAISES_NOTHING)),
        bad_ends=row.bad_ends + row.clock.startswith("over"),
    )


def _is_claimable(world: World, row: Job) -> bool:
    """sql.CLAIM's WHERE: open and not before its time, or running under a lease that is over; attempts left."""
    if row.attempt >= MAX_ATTEMPTS and world.flaw is not Flaw.CLAIM_IGNORES_CEILING:
        return False
    if row.status == "QUEUED":
        return row.clock == "due" if world.flaw is Flaw.CLAIM_READS_DISPATCH_TIME else row.clock != "early"
    if row.status == "RUNNING":
        return row.clock.startswith("over") or world.flaw is Flaw.CLAIM_IGNORES_LEASE
    return row.status == "SUCCEEDED" and world.flaw is Flaw.CLAIM_OF_ENDED


def _passes_fence(world: World, worker: Worker, row: Job) -> bool:
    match world.flaw:
        case Flaw.NO_FENCE:
            return True
        case Flaw.FENCE_BY_STATE_ALONE:
            return row.status == "RUNNING"
        case _:
            return row.status == "RUNNING" and row.token == worker.token


def _failed(world: World, row: Job) -> Job:
    if row.attempt >= MAX_ATTEMPTS:
        return row._replace(status="FAILED", clock="", token=row.token + 1, bad_ends=row.bad_ends + 1)
    return row._replace(
        status="QUEUED",
        clock="never due" if world.flaw is Flaw.RETRY_NEVER_DUE else "early",
        token=row.token + (world.flaw is not Flaw.RETRY_RAISES_NOTHING),
        bad_ends=row.bad_ends + 1,
    )


def _idle(state: State, number: int) -> State:
    """The message is acknowledged and the slot is free."""
    job = state.workers[number].job
    if state.jobs[job].unacked:
        state = changed(state, job, unacked=False)
    return turned(state, number, IDLE)
