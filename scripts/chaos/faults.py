"""What every fault has. Those of containers stand here; of Redis, Postgres and operation in modules of their own.

A fault belongs to one step of one run. `inject` may take its time, and raises StackError, OSError or RespError when
there is nothing that it could break; `heal` undoes it, is called at least once, and may be called again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random
from typing import Final

from scripts.chaos.plan import Step
from scripts.chaos.scene import WORKERS, Scene
from scripts.stack.containers import Containers
from scripts.stack.errors import StackError


class Fault(ABC):
    """One step, bound to the stack that it breaks."""

    #: Whether others do the work of what is broken; if nobody can, recovery counts from the healing.
    is_taken_over = True

    def __init__(self, scene: Scene, step: Step) -> None:
        self.scene, self.step = scene, step
        self.hit = step.target  #: what was broken, once it is known

    @abstractmethod
    def inject(self) -> None: ...

    def heal(self) -> None:  # noqa: B027 - most faults of an instant leave nothing to undo
        """Undoes what stays."""

    def describe(self) -> str:
        """What was done, to what."""
        hit = f" ({self.hit})" if self.hit and self.hit != self.step.target else ""
        return self.step.words() + hit


class OfContainer(Fault):
    """Kill, crash, freeze or stop of one service's containers. A role as target is looked up when it happens."""

    VERBS: Final[dict[str, Callable[[Containers, str], None]]] = {
        "kill": lambda containers, service: containers.kill(service),
        "crash": lambda containers, service: containers.crash(service),
        "freeze": lambda containers, service: containers.suspend(service),
        "stop": lambda containers, service: containers.stop(service),
        "restart": lambda containers, service: containers.restart(service),
    }

    def __init__(self, scene: Scene, step: Step) -> None:
        super().__init__(scene, step)
        self.is_taken_over = step.target not in {*WORKERS, "web", "bridge", "sweeper", "postgres"}

    def inject(self) -> None:
        self.hit = ""  # what another fault holds down is not to be started by this one's healing
        service = self._service()
        if not self.scene.containers.ids(service, running=True):
            raise StackError(f"{service} does not run", fix="make ps")
        self.hit = service
        self.VERBS[self.step.fault.partition("-")[0]](self.scene.containers, service)

    def heal(self) -> None:
        if self.hit in self.scene.services:
            restored(self.scene, self.hit)

    def _service(self) -> str:
        if self.step.target == "primary":
            return self.scene.primary()
        return self.scene.replica(self.step.dice) if self.step.target == "replica" else self.step.target


class OfChild(Fault):
    """SIGKILL of one child of a pool of processes, as the kernel does when memory is short."""

    def inject(self) -> None:
        chance = Random(self.step.dice)
        container = next(iter(self.scene.containers.ids(self.step.target, running=True)), "")
        processes = self.scene.containers.processes(container) if container else []
        children = [one for one in processes[1:] if one.parent == processes[0].id]
        if not children:
            raise StackError(f"{self.step.target} has no child", fix="make ps")
        victim = chance.choice(children)
        if not self.scene.containers.kill_process(container, victim):
            raise StackError(f"{self.step.target} process {victim.id} was not killed", fix="make ps")
        self.hit = f"{self.step.target} process {victim.id}"


def restored(scene: Scene, *services: str) -> None:
    """Started where they are down, and going on where they were stopped."""
    scene.containers.recover(*services)
    scene.containers.resume(*services)
