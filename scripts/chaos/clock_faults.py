"""Wall clocks that jump, in one service of the application at a time. No clock of the host is touched.

For the time of the fault the service runs from an image with libfaketime (services/skewed): it is made anew twice.
"""

import json
from random import Random
from typing import Final

from scripts.chaos.faults import Fault
from scripts.chaos.scene import WORKERS, Scene
from scripts.stack import host_history, images, processes

#: Seconds. Every time that counts is the database's: an application's clock may say what it likes.
STEPS: Final = (-86_400, -3_600, -90, 90, 3_600, 86_400)
#: Read once a second; gone with the container.
_SET: Final = "echo {seconds:+d} > /tmp/clock"
#: Seconds for a graceful stop and a start.
_ANEW_SECONDS: Final = 90.0

CLOCKED: Final = (*WORKERS, "bridge", "sweeper")


class ClockStep(Fault):
    """One service's clock jumps while it works, by a minute and a half to a day, forward or back."""

    is_taken_over = False

    def inject(self) -> None:
        service, seconds = self.step.target, Random(self.step.dice).choice(STEPS)
        made_anew(self.scene, service, image=self.scene.find_skewed())
        self.scene.containers.run_in(service, "sh", "-c", _SET.format(seconds=seconds))
        host_history.fault(f"clock {seconds:+d} s", service)
        self.hit = f"{service} by {seconds:+d} s"

    def heal(self) -> None:
        made_anew(self.scene, self.step.target)


def made_anew(scene: Scene, service: str, *, image: str = "") -> None:
    """The service from another image, or from its own again. Raises StackError."""
    compose = scene.compose
    override = json.dumps({"services": {service: {"image": image}}}) if image else ""
    argv = compose.argv(*(["--file", "-"] if image else []), "up", "--detach", "--no-deps", service)
    environment, root = compose.environment(), compose.stack.root
    processes.read(argv, env=environment, cwd=root, timeout=_ANEW_SECONDS, stdin=override)


def true_clocks(scene: Scene) -> None:
    """Every service from its own image. Raises StackError."""
    for container in scene.containers.inspect(*CLOCKED):
        if container["Config"]["Image"].startswith(f"{images.SKEWED}:"):
            made_anew(scene, container["Config"]["Labels"]["com.docker.compose.service"])
