"""Graces, backoffs and leases run out, by Postgres's clock."""

from scripts.model.world import Fault, Flaw, State, Step, Steps, World, changed, fault, holds, is_under_way


def steps(world: World, state: State) -> Steps:
    for job, it in enumerate(state.jobs):
        match it.clock:
            case "hinted" | "over, hinted":
                yield from grace(world, state, job)
            case "early":
                yield backoff(state, job)
            case "held":
                yield from lease(world, state, job)


def grace(world: World, state: State, job: int) -> Steps:
    """`next_dispatch_at` has come. While the hint is still under way that is a fault: it is slower than its grace."""
    is_waiting = state.jobs[job].status == "QUEUED"
    due = "due again" if world.flaw is Flaw.WINDOW_COUNTS_LOST else "due"
    after = changed(state, job, clock=due if is_waiting else "over")
    if not is_under_way(state, job):
        yield Step("the grace of job {job} is over: it is due", after, job=job)
    elif world.may(state, Fault.HINT_SLOW):
        yield fault("the grace of job {job} is over, its hint still under way", after, job)


def backoff(state: State, job: int) -> Step:
    """`not_before` has come, and `next_dispatch_at` with it."""
    return Step("the backoff of job {job} is over: it is due", changed(state, job, clock="due"), job=job)


def lease(world: World, state: State, job: int) -> Steps:
    """`lease_until` has passed. Under a worker that lives that is a fault: it was frozen, or could not renew."""
    after = changed(state, job, clock="over")
    it = state.jobs[job]
    if any(holds(worker, job, it) for worker in state.workers):
        if world.may(state, Fault.LEASE_OVERRUN):
            yield fault("the lease of job {job} runs out under a frozen worker", after, job)
    elif world.flaw is not Flaw.LEASE_BY_WORKER_CLOCK:
        yield Step("the lease of job {job} runs out: its holder is gone", after, job=job)
