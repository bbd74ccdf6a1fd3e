"""What a mutant is, and how it comes into a tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class TargetMoved(Exception):
    """A mutant no longer finds what it rewrites: bring its edit in `tests.mutants.catalogue` up to the code."""


@dataclass(frozen=True, slots=True)
class Edit:
    """In the file `path` of app/, `old` becomes `new`. `old` stands there exactly once."""

    path: str
    old: str
    new: str

    def rewritten(self, text: str) -> str:
        """Raises TargetMoved."""
        if (count := text.count(self.old)) != 1:
            raise TargetMoved(f"{self.path} holds {count} times what stands here once:\n{self.old}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """Holdfast with one defect."""

    name: str
    what: str  #: it does, or leaves out
    breaks: str  #: the promise
    edits: Sequence[Edit]
    checks: Sequence[str]  #: pytest ids of the checks that are to see it

    def plant(self, app: Path) -> None:
        """Rewrites the files of `app`, a copy of the tree. Raises TargetMoved."""
        for edit in self.edits:
            path = app / edit.path
            text = path.read_text(encoding="utf-8")
            path.write_text(edit.rewritten(text), encoding="utf-8")
