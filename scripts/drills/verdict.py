"""A drill's checks as lines, and its exit status: not 0 when a promise broke."""

from dataclasses import dataclass, field

from scripts.drills import machine
from scripts.stack import console


@dataclass
class Verdict:
    """Collects checks, prints each when it is made."""

    hypothesis: str
    #: False on a machine that does other work too, as that of a test: times are printed and not judged.
    judges_time: bool = True
    broken: list[str] = field(default_factory=list)
    _began: machine.Look = field(default_factory=machine.look)

    def __post_init__(self) -> None:
        console.say(f"hypothesis: {self.hypothesis}")

    def note(self, text: str) -> None:
        console.say(f"  {text}")

    def check(self, holds: bool, text: str) -> None:
        """One promise and what was seen of it."""
        console.say(f"  {'ok    ' if holds else 'BROKEN'} {text}")
        if not holds:
            self.broken.append(text)

    def check_time(self, holds: bool, text: str) -> None:
        """One promise about how long something took."""
        if self.judges_time:
            self.check(holds, text)
        else:
            self.note(f"       {text}")

    def status(self) -> int:
        """Prints the end; 0 when everything held."""
        self.note(f"machine: {machine.between(self._began, machine.look())}")
        console.say(f"verdict: {'held' if not self.broken else f'{len(self.broken)} promise(s) broken'}")
        return 1 if self.broken else 0
