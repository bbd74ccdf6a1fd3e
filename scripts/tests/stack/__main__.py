"""Runs these tests. A class that could not be carried out is tried once more, on a new stack, and named.

An error is what the machine did: a wait that ran out, a container that did not start. A failure is what the stack did;
it is never tried again.
"""

import re
import sys
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from scripts.stack import console

HERE: Final = Path(__file__).parent

#: `setUpClass (package.module.Class)`, as unittest names what has no test of its own.
_OF_CLASS: Final = re.compile(r"\w+ \((?P<name>[\w.]+)\)")


def classes(tests: Sequence[object]) -> list[str]:
    """Dotted names of the classes that these belong to, each once."""
    return list(dict.fromkeys(map(_class_of, tests)))


def held(run: Callable[[unittest.TestSuite], unittest.TestResult], suite: unittest.TestSuite) -> bool:
    """Whether every test of `suite` holds, in the second try at the latest."""
    first = run(suite)
    if first.wasSuccessful():
        return True
    if first.failures or first.unexpectedSuccesses:
        return False
    again = classes([test for test, _ in first.errors])
    console.warn(f"Could not be carried out, tried once more: {', '.join(again)}")
    second = run(unittest.defaultTestLoader.loadTestsFromNames(again))
    return second.wasSuccessful() and second.testsRun > 0


def _class_of(test: object) -> str:
    if isinstance(test, unittest.TestCase):
        return f"{type(test).__module__}.{type(test).__qualname__}"
    found = _OF_CLASS.fullmatch(str(test))
    return found["name"] if found else str(test)


if __name__ == "__main__":
    root = HERE.parents[2]
    every = unittest.defaultTestLoader.discover(str(HERE), top_level_dir=str(root))
    sys.exit(0 if held(unittest.TextTestRunner(verbosity=2).run, every) else 1)
