"""Every state that a world can reach, breadth first, so that the first story of a broken promise is a shortest one.

Jobs are interchangeable, and so are workers: states that differ only in who is who are one. Lease tokens are compared
and raised, never counted: of each job's tokens only the order is kept.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from scripts.model import bridge, client, promises, redis, sweeper, time_passes, worker
from scripts.model.promises import Promise
from scripts.model.world import NOBODY, Job, Means, State, Step, Worker, World

#: In the order in which a story prefers them: without need, no fault.
_ACTORS: Final = (client, bridge, worker, sweeper, time_passes, redis)


@dataclass(frozen=True)
class Broken:
    """A promise that fell, and how: a shortest story, one sentence for each step."""

    promise: Promise
    story: tuple[str, ...]


@dataclass(frozen=True)
class Exploration:
    """What was found in one world. `broken` None = every reachable state was seen, and every promise holds."""

    world: World
    states: int
    steps: int
    seconds: float
    broken: Broken | None


def explore(world: World, wanted: Promise | None = None) -> Exploration:
    """Sees every state, or stops at the first step that breaks a promise, or this one.

    A job counts as lost in the first state from which no sequence of the system's own steps ends all accepted jobs:
    where there is always one, every run without further faults that takes each step it could take again and again does.
    """
    began = time.perf_counter()
    graph = _Graph(world, wanted)
    broken = graph.grow() or graph.find_lost()
    return Exploration(world, len(graph.states), graph.steps, time.perf_counter() - began, broken)


def steps(world: World, state: State) -> Iterator[Step]:
    """Everything that can happen next."""
    return chain.from_iterable(actor.steps(world, state) for actor in _ACTORS)


def canonical(state: State) -> State:
    """The one of all states like it."""
    jobs, workers = _with_ranks(state)
    if len(jobs) == 1:
        return state._replace(jobs=jobs, workers=tuple(sorted(workers)))
    kept = tuple(sorted(workers))
    if jobs[0] < jobs[1]:
        return state._replace(jobs=jobs, workers=kept)
    swapped = tuple(sorted(one._replace(job=1 - one.job) if one.job != NOBODY else one for one in workers))
    if jobs[0] == jobs[1]:
        return state._replace(jobs=jobs, workers=min(kept, swapped))
    return state._replace(jobs=(jobs[1], jobs[0]), workers=swapped)


def _with_ranks(state: State) -> tuple[tuple[Job, ...], tuple[Worker, ...]]:
    """Each token as its place among those of its job that the row and workers hold."""
    jobs, workers = state.jobs, state.workers
    for number, job in enumerate(jobs):
        held = {one.token for one in workers if one.job == number and one.phase != "hint"}
        ranks = {token: rank for rank, token in enumerate(sorted({job.token, *held}))}
        if all(token == rank for token, rank in ranks.items()):
            continue
        jobs = (*jobs[:number], job._replace(token=ranks[job.token]), *jobs[number + 1 :])
        workers = tuple(
            one._replace(token=ranks[one.token]) if one.job == number and one.phase != "hint" else one
            for one in workers
        )
    return jobs, workers


class _Graph:
    """The states seen so far and the way back from each."""

    def __init__(self, world: World, wanted: Promise | None) -> None:
        self.world = world
        self._wanted = wanted
        start = canonical(world.start())
        self.states = [start]
        self.steps = 0
        self._number_of = {start: 0}
        self._parents = [NOBODY]
        self._led_here: list[list[int]] = [[]]  #: by the system's own steps

    def grow(self) -> Broken | None:
        for number, state in enumerate(self.states):  # which grows meanwhile
            for step in steps(self.world, state):
                self.steps += 1
                promise = promises.broken_by(self.world, state, step)
                if promise and self._wanted in (None, promise):
                    return Broken(promise, self._story(number, promise))
                self._enter(number, step)
        return None

    def find_lost(self) -> Broken | None:
        """Walks back from where everything has ended; the first state that is not met is lost."""
        if self._wanted not in (None, Promise.ENDS):
            return None
        waiting = [number for number, state in enumerate(self.states) if promises.has_drained(state)]
        drains = bytearray(len(self.states))
        for number in waiting:
            drains[number] = True
        while waiting:
            for before in self._led_here[waiting.pop()]:
                if not drains[before]:
                    drains[before] = True
                    waiting.append(before)
        lost = drains.find(False)
        return None if lost < 0 else Broken(Promise.ENDS, self._story(lost, Promise.ENDS))

    def _enter(self, number: int, step: Step) -> None:
        after = canonical(step.after)
        known = self._number_of.setdefault(after, len(self.states))
        if known == len(self.states):
            self.states.append(after)
            self._parents.append(number)
            self._led_here.append([])
        if step.means is Means.SYSTEM:
            self._led_here[known].append(number)

    # -- stories ------------------------------------------------------------------------------------------------------
    def _story(self, number: int, promise: Promise) -> tuple[str, ...]:
        """How state `number` comes about, and what happens there."""
        path = []
        while number != NOBODY:
            path.append(self.states[number])
            number = self._parents[number]
        told, state = self._retold(path[::-1])
        ending = self._no_way_out(state) if promise is Promise.ENDS else [self._breaking(state, promise)]
        return (*told, *ending)

    def _retold(self, path: list[State]) -> tuple[list[str], State]:
        """The path with jobs and workers that keep their names, and tokens that keep their values."""
        told, state = [], self.world.start()
        for wanted in path[1:]:
            step = next(step for step in steps(self.world, state) if canonical(step.after) == wanted)
            told.append(_sentence(step))
            state = step.after
        return told, state

    def _breaking(self, state: State, promise: Promise) -> str:
        found = (step for step in steps(self.world, state) if promises.broken_by(self.world, state, step) is promise)
        return _sentence(next(found))

    def _no_way_out(self, state: State) -> list[str]:
        """What the system still does there: it comes to a standstill, or goes round for ever."""
        told: list[str] = []
        seen = {canonical(state)}
        while True:
            own = [step for step in steps(self.world, state) if step.means is Means.SYSTEM]
            new = [step for step in own if canonical(step.after) not in seen]
            if not new:
                again = "and so on, for ever" if own else "and nothing moves any more"
                return [*told, f"{again}: {_open_jobs(state)}"]
            told.append(f"then {_sentence(new[0])}")
            state = new[0].after
            seen.add(canonical(state))


def _sentence(step: Step) -> str:
    token = step.after.workers[step.worker].token
    return step.text.format(job="ab"[step.job], worker=step.worker + 1, token=token)


def _open_jobs(state: State) -> str:
    words = [f"job {'ab'[job]} is {it.status} ({it.clock})" for job, it in enumerate(state.jobs) if it.status]
    return ", ".join(words)
