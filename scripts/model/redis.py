"""What Redis holds, and everything that it may do to it."""

from scripts.model.world import Fault, Flaw, Job, Mode, State, Step, Steps, World, changed, fault


def steps(world: World, state: State) -> Steps:
    """Faults only: Redis does nothing by itself."""
    if not state.faults:
        return
    if Fault.HINT_LOST in world.kinds:
        yield from lose_one(state)
    if Fault.ALL_LOST in world.kinds and any(map(_has_hint, state.jobs)):
        yield lose_all(state)
    if Fault.GROUP_LOST in world.kinds and state.has_group:
        yield lose_group(state)
    if Fault.HINT_REPEATED in world.kinds:
        yield from repeat(world, state)


def publish(world: World, state: State, job: int, who: str, **emptied: object) -> Steps:
    """`jobs.hinting.send`: XADD by `dispatch.stream_dispatcher.StreamDispatcher.dispatch`, or LPUSH by
    `dispatch.celery_dispatcher.CeleryDispatcher.dispatch`.

    Where Redis refuses, or does not answer in time, `jobs.hinting.make_due` (sql.REFUSED) makes the row due at once.
    """
    without = changed(state, job, **emptied)
    taken = add(world, without, job)
    yield Step(who + " publishes the hint of job {job}", taken, job=job)
    if world.may(state, Fault.HINT_REFUSED):
        yield fault("Redis refuses the hint of job {job} that " + who + " publishes", _due(without, job), job)
        yield fault("Redis takes the hint of job {job} from " + who + " and does not say so", _due(taken, job), job)


def add(world: World, state: State, job: int) -> State:
    """One hint more, behind the others or before them: a set has no order."""
    if world.mode is Mode.CELERY:
        return changed(state, job, listed=True)
    if world.flaw is Flaw.STREAM_TRIMMED:  # XADD MAXLEN 1
        state = state._replace(jobs=tuple(it._replace(unread=False, pending=False) for it in state.jobs))
    return changed(state, job, unread=True)


def hinted(state: State) -> int:
    """Waiting rows whose hint is inside its grace: what the window counts."""
    return sum(it.status == "QUEUED" and it.clock == "hinted" for it in state.jobs)


def lose_one(state: State) -> Steps:
    """A failover loses the tail that its replica had not received."""
    for job, it in enumerate(state.jobs):
        for place in ("unread", "pending", "listed"):
            if getattr(it, place):
                yield fault("Redis loses a hint of job {job}", changed(state, job, **{place: False}), job)


def lose_all(state: State) -> Step:
    """FLUSHALL, or a primary that comes back empty."""
    jobs = tuple(it._replace(unread=False, pending=False, listed=False) for it in state.jobs)
    return fault("Redis loses everything", state._replace(jobs=jobs, has_group=False))


def lose_group(state: State) -> Step:
    """XGROUP DESTROY: the entries stay, what was delivered of them is forgotten."""
    jobs = tuple(it._replace(unread=it.unread or it.pending, pending=False) for it in state.jobs)
    return fault("the consumer group is lost", state._replace(jobs=jobs, has_group=False))


def repeat(world: World, state: State) -> Steps:
    """A failover resurrects an entry, or kombu delivers a message again. Also of a job that has ended."""
    for job, it in enumerate(state.jobs):
        if it.status and not it.listed:
            yield fault("a message of job {job} appears again", changed(state, job, listed=True), job)
        if it.status and not it.unread and world.mode is Mode.STREAM:
            yield fault("an entry of job {job} appears again", changed(state, job, unread=True), job)


def _due(state: State, job: int) -> State:
    it = state.jobs[job]
    if it.status == "QUEUED" and it.clock == "hinted":
        return changed(state, job, clock="due")
    if it.clock == "over, hinted":
        return changed(state, job, clock="over")
    return state


def _has_hint(it: Job) -> bool:
    return it.unread or it.pending or it.listed
