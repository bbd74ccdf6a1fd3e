"""Stream mode: entries become Celery messages. One bridge; it takes one entry at a time."""

from scripts.model.world import OPEN, Fault, Flaw, Job, Mode, State, Step, Steps, World, changed, fault


def steps(world: World, state: State) -> Steps:
    if world.mode is not Mode.STREAM:
        return
    if not state.has_group:
        yield make_group(world, state)
    in_hand = [job for job, it in enumerate(state.jobs) if it.bridge]
    if not in_hand:
        yield from read(world, state)
    for job in in_hand:
        if state.jobs[job].bridge == "read":
            yield look(state, job)
        else:
            yield end(world, state, job)
        yield from die(world, state, job)


def make_group(world: World, state: State) -> Step:
    """`bridge.consumer_group.ConsumerGroup.ensure`, at the first read and after NOGROUP.

    At 0, so that it sees what was added before.
    """
    after = state._replace(has_group=True)
    if world.flaw is Flaw.GROUP_AT_END:
        hidden = tuple(it._replace(unread=False) for it in state.jobs)
        return Step("the bridge makes its group at $", after._replace(jobs=hidden))
    return Step("the bridge makes its group at 0", after)


def read(world: World, state: State) -> Steps:
    """`bridge.consumer_group.ConsumerGroup.read`: what is pending, its own after a restart or another's that is stale
    (XAUTOCLAIM), and what is new."""
    if not state.has_group:
        return
    for job, it in enumerate(state.jobs):
        if it.pending and world.flaw is not Flaw.READS_ONLY_NEW:
            yield Step("the bridge takes the pending entry of job {job}", changed(state, job, bridge="read"), job=job)
        if it.unread:
            after = changed(state, job, unread=False, pending=True, bridge="read")
            yield Step("the bridge reads the entry of job {job}", after, job=job)


def look(state: State, job: int) -> Step:
    """`bridge.bridge._wanted` → `jobs.selectors.dispatchable` (sql.DISPATCHABLE): could its row be claimed now?"""
    is_wanted = _is_dispatchable(state.jobs[job])
    text = "the bridge finds that job {job} " + ("can be claimed" if is_wanted else "needs no message")
    return Step(text, changed(state, job, bridge="wanted" if is_wanted else "unwanted"), job=job)


def end(world: World, state: State, job: int) -> Step:
    """`bridge.consumer_group.ConsumerGroup.end`: the script publishes, acknowledges and deletes in one.

    It does so only with what is still pending.
    """
    it = state.jobs[job]
    if it.bridge == "acknowledged":
        return Step(
            "the bridge publishes the message of job {job}", changed(state, job, bridge="", listed=True), job=job
        )
    if not it.pending:
        return Step("the bridge finds the entry of job {job} ended by others", changed(state, job, bridge=""), job=job)
    if it.bridge == "unwanted":
        after = changed(state, job, pending=False, bridge="")
        return Step("the bridge deletes the entry of job {job}", after, job=job)
    if world.flaw is Flaw.ACK_BEFORE_PUBLISH:
        after = changed(state, job, pending=False, bridge="acknowledged")
        return Step("the bridge acknowledges and deletes the entry of job {job}", after, job=job)
    after = changed(state, job, pending=False, listed=True, bridge="")
    return Step("the bridge publishes the message of job {job} and deletes its entry, in one", after, job=job)


def die(world: World, state: State, job: int) -> Steps:
    """What it had read stays pending: its successor, of the same name, reads that first."""
    if world.may(state, Fault.BRIDGE_DIES):
        after = changed(state, job, bridge="")
        if world.flaw is Flaw.CONSUMER_DELETED:
            after = changed(after, job, pending=False)
            yield fault("the bridge dies and its consumer is deleted, with the entry of job {job}", after, job)
        else:
            yield fault("the bridge dies with the entry of job {job} in hand", after, job)


def _is_dispatchable(row: Job) -> bool:
    if row.status not in OPEN:
        return False
    return row.clock != "early" if row.status == "QUEUED" else row.clock.startswith("over")
