"""The sweeper: hints again what is open and due, fails what cannot be tried again.

Left out, because it changes only when things happen: the trickle for hints that still stand in Redis, priorities, the
broker epoch and the shorter grace of an idle pool.
"""

from scripts.model import redis
from scripts.model.world import MAX_ATTEMPTS, Fault, Flaw, State, Step, Steps, World, changed, fault


def steps(world: World, state: State) -> Steps:
    if not world.has_sweeper or world.flaw is Flaw.NO_SWEEPER:
        return
    taken = [job for job, it in enumerate(state.jobs) if it.sweeper]
    for job in taken:
        yield from publish(world, state, job)
        yield from die(world, state, job)
    for job, it in enumerate(state.jobs):
        if it.status == "RUNNING" and it.clock.startswith("over") and it.attempt >= MAX_ATTEMPTS:
            yield from fail_lost(world, state, job)
        elif not taken and it.clock in ("due", "due again", "over"):
            yield from take(world, state, job)


def take(world: World, state: State, job: int) -> Steps:
    """`jobs.sweeper.Sweeper._take`: sql.TAKE_EXPIRED, and sql.TAKE_DUE into the room that `jobs.sweeper.Sweeper._room`
    sees.

    Its next hint lies ahead before anything is published.
    """
    it = state.jobs[job]
    if world.flaw is Flaw.GATED_ON_UNACKED and any(one.unacked for one in state.jobs):
        return
    if it.status == "RUNNING":
        after = changed(state, job, clock="over, hinted", sweeper=True)
        yield Step("the sweeper takes job {job}, whose lease ran out", after, job=job)
    elif _hinted(world, state) < world.window:
        after = changed(state, job, clock="hinted", sweeper=True)
        yield Step("the sweeper takes job {job}, which is due", after, job=job)


def publish(world: World, state: State, job: int) -> Steps:
    """`jobs.sweeper.Sweeper._publish` → `jobs.hinting.send`."""
    return redis.publish(world, state, job, "the sweeper", sweeper=False)


def fail_lost(world: World, state: State, job: int) -> Steps:
    """`jobs.sweeper.Sweeper._fail_lost` → sql.FAIL_LOST: the lease of the last allowed attempt ran out."""
    if world.flaw is Flaw.NO_CEILING_IN_SWEEPER:
        return
    it = state.jobs[job]
    after = changed(state, job, status="FAILED", clock="", token=it.token + 1, bad_ends=it.bad_ends + 1)
    yield Step("the sweeper fails job {job}: dead letter", after, job=job)


def die(world: World, state: State, job: int) -> Steps:
    """Between taking and publishing: nobody publishes the hint, the row waits for its grace."""
    if world.may(state, Fault.SWEEPER_DIES):
        yield fault("the sweeper dies with the hint of job {job} in hand", changed(state, job, sweeper=False), job)


def _hinted(world: World, state: State) -> int:
    """What the window counts. Hints whose grace is over count for nothing: they may be lost."""
    lost = sum(it.clock == "due again" for it in state.jobs) if world.flaw is Flaw.WINDOW_COUNTS_LOST else 0
    return redis.hinted(state) + lost
