"""What `make ps`, `make logs` and `make drill` make of their variables."""

import argparse
import contextlib
import io
import unittest
from pathlib import Path
from unittest import mock

from scripts.drills import __main__ as drills
from scripts.drills import arguments
from scripts.stack import command_line, deployment, look
from scripts.stack.compose import Compose
from scripts.stack.containers import Containers
from scripts.stack.errors import StackError
from scripts.stack.toolbox import Toolbox

ROOT = Path(__file__).resolve().parents[3]


class Views(unittest.TestCase):
    def asked(self, *argv: str) -> list[str]:
        """What Compose is called with, after the part that every call has."""
        with (
            mock.patch.object(Toolbox, "compose", return_value=("docker", "compose")),
            mock.patch.object(Compose, "read", return_value="web\npostgres\n"),
            mock.patch.object(Compose, "call", return_value=0) as call,
        ):
            self.assertEqual(command_line.main(argv), 0)
        (found,) = call.call_args.args
        return list(found[found.index(argv[0]) :])

    def test_ps_lists_stopped_containers_too(self) -> None:
        self.assertEqual(self.asked("ps"), ["ps", *look.OPTIONS["ps"]])

    def test_logs_follow_all_services_or_the_named_one(self) -> None:
        self.assertEqual(self.asked("logs"), ["logs", *look.OPTIONS["logs"]])
        self.assertEqual(self.asked("logs", "web"), ["logs", *look.OPTIONS["logs"], "web"])

    def test_an_unknown_service_is_answered_with_those_that_there_are(self) -> None:
        with (
            contextlib.redirect_stderr(io.StringIO()) as output,
            mock.patch.object(Toolbox, "compose", return_value=("docker", "compose")),
            mock.patch.object(Compose, "read", return_value="web\npostgres\n"),
        ):
            self.assertEqual(command_line.main(["logs", "nope"]), 1)
        self.assertIn("There are postgres, web.", output.getvalue())


class Drills(unittest.TestCase):
    def said(self, *argv: str) -> str:
        with contextlib.redirect_stderr(io.StringIO()) as output:
            self.assertEqual(drills.main(argv), 1)
        return output.getvalue()

    def test_every_drill_of_the_readme_is_there(self) -> None:
        for name in ("accepts-without-redis", "postgres-outage"):
            self.assertIn(name, drills.names())

    def test_a_missing_or_unknown_name_is_answered_with_a_command(self) -> None:
        for argv in ((), ("nope",), ("load",)):
            self.assertIn("next: make drill NAME=", self.said(*argv))

    def test_a_stack_that_does_not_run_is_not_drilled(self) -> None:
        stack = deployment.load(ROOT, environment={})
        with (
            mock.patch.object(deployment, "load", return_value=stack),
            mock.patch.object(Containers, "ids", return_value=[]),
            self.assertRaises(StackError) as caught,
        ):
            arguments.stack_of(argparse.Namespace(env_file=None))
        self.assertEqual(caught.exception.fix, "make up")


if __name__ == "__main__":
    unittest.main()
