"""Requests: the web process's part of a job's life, and what clients ask for."""

from scripts.model import redis
from scripts.model.world import LIVE, OPEN, Fault, Flaw, Job, Means, State, Step, Steps, World, changed, fault


def steps(world: World, state: State) -> Steps:
    for job, it in enumerate(state.jobs):
        match it.web:
            case "":
                yield from insert(world, state, job)
            case "inserted":
                yield commit(world, state, job)
                yield from die(world, state, job)
            case "committed":
                yield from dispatch(world, state, job)
                yield from die(world, state, job)
        yield from cancel(world, state, job)


def insert(world: World, state: State, job: int) -> Steps:
    """`jobs.submission.insert` → sql.SUBMIT, in the request's transaction: nobody else sees the row yet.

    The unique index over live identities lets an equal request wait for the transaction before it, and meet its row.
    """
    equal = [one for other, one in enumerate(state.jobs) if world.same_request and other != job]
    if any(one.status in LIVE for one in equal):
        met = changed(state, job, web="done")
        yield Step("a client sends the request again and is answered with the job that there is", met, Means.CLIENT)
        return
    if any(one.web == "inserted" for one in equal) and world.flaw is not Flaw.NO_UNIQUE_INDEX:
        return
    after = changed(state, job, web="inserted")
    if world.flaw is Flaw.PUBLISH_BEFORE_COMMIT:
        yield Step("web inserts job {job} and publishes its hint", redis.add(world, after, job), Means.CLIENT, job)
    else:
        yield Step("web inserts job {job}", after, Means.CLIENT, job)


def commit(world: World, state: State, job: int) -> Step:
    """COMMIT, which accepts the job. sql.SUBMIT decided whether it hints: as `jobs.admission.admit` saw room."""
    has_room = redis.hinted(state) < world.window
    publishes = has_room and world.flaw not in (Flaw.NO_HINT_AFTER_COMMIT, Flaw.PUBLISH_BEFORE_COMMIT)
    after = changed(
        state,
        job,
        status="QUEUED",
        clock="hinted" if has_room else "due",
        web="committed" if publishes else "done",
    )
    return Step("web commits job {job}: it is accepted", after, job=job)


def dispatch(world: World, state: State, job: int) -> Steps:
    """`jobs.hinting._send_accepted`, after the commit: the hint goes to Redis, or the row is due at once."""
    return redis.publish(world, state, job, "web", web="done")


def die(world: World, state: State, job: int) -> Steps:
    """Before the commit: Postgres rolls back, nothing was accepted. After it: nobody publishes the hint."""
    if world.may(state, Fault.WEB_DIES):
        is_accepted = state.jobs[job].web == "committed"
        text = "web dies with the hint of job {job} in hand" if is_accepted else "web dies: job {job} is rolled back"
        yield fault(text, changed(state, job, web="done" if is_accepted else ""), job)


def cancel(world: World, state: State, job: int) -> Steps:
    """`jobs.cancellation.cancel` → sql.CANCEL: at once in every open state; a running attempt loses its lease."""
    it = state.jobs[job]
    if it.status in OPEN and world.may(state, Fault.CANCELLED):
        yield fault("job {job} is cancelled", _cancelled(state, job, it), job)


def _cancelled(state: State, job: int, it: Job) -> State:
    return changed(state, job, status="CANCELLED", clock="", token=it.token + 1)
