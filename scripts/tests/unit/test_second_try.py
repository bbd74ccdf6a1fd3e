"""Which tests of the stack are tried a second time."""

import unittest
from typing import ClassVar
from unittest import mock

from scripts.stack import console
from scripts.tests.stack import __main__ as runner


class Pretended:
    """Out of reach of discovery."""

    class Answers(unittest.TestCase):
        """Ends as `coming` says, one after the other."""

        coming: ClassVar[list[BaseException | None]] = []

        def test_as_told(self) -> None:
            if error := self.coming.pop(0):
                raise error

    class Starts(unittest.TestCase):
        coming: ClassVar[list[BaseException | None]] = []

        @classmethod
        def setUpClass(cls) -> None:
            if error := cls.coming.pop(0):
                raise error

        def test_starts(self) -> None:
            self.assertIsNotNone(self.coming)


class SecondTry(unittest.TestCase):
    def held(self, kind: type[Pretended.Answers | Pretended.Starts], *coming: BaseException | None) -> bool:
        kind.coming[:] = coming
        with mock.patch.object(console, "warn"):
            held = runner.held(
                lambda suite: suite.run(unittest.TestResult()), unittest.defaultTestLoader.loadTestsFromTestCase(kind)
            )
        self.left = len(kind.coming)
        return held

    def test_is_for_what_could_not_be_carried_out(self) -> None:
        for kind in (Pretended.Answers, Pretended.Starts):
            self.assertTrue(self.held(kind, TimeoutError("no answer"), None))
            self.assertFalse(self.held(kind, TimeoutError("no answer"), TimeoutError("again")))

    def test_is_not_for_what_failed(self) -> None:
        self.assertFalse(self.held(Pretended.Answers, AssertionError("a job was lost"), None))
        self.assertEqual(self.left, 1, "tried again although it failed")

    def test_does_not_come_after_a_first_that_held(self) -> None:
        self.assertTrue(self.held(Pretended.Answers, None, TimeoutError("never asked")))
        self.assertEqual(self.left, 1)

    def test_of_tests_that_cannot_be_found_fails(self) -> None:
        missing = unittest.defaultTestLoader.loadTestsFromNames(["scripts.tests.stack.no_such_module"])
        with mock.patch.object(console, "warn"):
            self.assertFalse(runner.held(lambda suite: suite.run(unittest.TestResult()), missing))
