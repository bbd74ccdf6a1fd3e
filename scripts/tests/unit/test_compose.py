"""Argument lists and environment that Compose is called with."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from scripts.stack import deployment
from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

EXAMPLE = (
    "COMPOSE_PROJECT_NAME=holdfast\nMODE=celery\nTOPOLOGY=sentinel\nSUBNET_PREFIX=10.92.92\n# REDIS_IMAGE=redis:8\n"
    "# COMPOSE_OVERRIDES=\n"
)


class Clone(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / ".env.example").write_text(EXAMPLE)
        (self.root / ".env").write_text("MODE=celery\n")

    def load(self, **environment: str) -> Stack:
        return deployment.load(self.root, environment=environment)


class CommandLine(Clone):
    def compose(self, **environment: str) -> Compose:
        return Compose(("docker", "compose"), self.load(**environment))

    def test_up_waits_and_removes_what_another_topology_left(self) -> None:
        argv = self.compose().up(wait_seconds=9)
        self.assertEqual(argv[-5:], ["--detach", "--remove-orphans", "--wait", "--wait-timeout", "9"])
        self.assertEqual(argv[:2], ["docker", "compose"])
        self.assertIn("holdfast", argv)

    def test_the_sentinel_topology_adds_its_overlay(self) -> None:
        self.assertIn(str(self.root / "compose.sentinel.yaml"), self.compose().argv("ps"))
        self.assertNotIn(str(self.root / "compose.sentinel.yaml"), self.compose(TOPOLOGY="standalone").argv("ps"))

    def test_overrides_are_read_last_and_remembered_in_the_state(self) -> None:
        stack = self.load(COMPOSE_OVERRIDES="mine.yaml:yours.yaml")
        self.assertEqual(stack.compose_files[-3:], ("compose.sentinel.yaml", "mine.yaml", "yours.yaml"))
        self.assertTrue(stack.state_lines()["COMPOSE_FILE"].endswith(":mine.yaml:yours.yaml"))

    def test_the_state_file_comes_after_env(self) -> None:
        stack = self.load()
        stack.save_state()
        argv = Compose(("docker", "compose"), stack).argv("ps")
        files = [argv[index + 1] for index, word in enumerate(argv) if word == "--env-file"]
        self.assertEqual(files, [str(self.root / ".env"), str(stack.state_path)])

    def test_down_keeps_volumes_unless_asked(self) -> None:
        self.assertNotIn("--volumes", self.compose().down())
        self.assertIn("--volumes", self.compose().down(volumes=True))

    def test_profiles_are_named_one_by_one(self) -> None:
        argv = Compose(("docker", "compose"), self.load(), profiles=("grafana",)).argv("ps")
        self.assertEqual(argv[argv.index("--profile") + 1], "grafana")

    def test_the_shell_does_not_override_what_the_stack_decided(self) -> None:
        stack = self.load().with_images({"REDIS_IMAGE": "holdfast/standin-redis:1"})
        shell = {"MODE": "stream", "REDIS_IMAGE": "x", "COMPOSE_PROFILES": "y", "WEB_PORT": "8001"}
        with mock.patch.dict(os.environ, shell, clear=True):
            self.assertEqual(Compose(("dc",), stack).environment(), {"WEB_PORT": "8001"})

    def test_a_second_stack_takes_nothing_of_the_shell(self) -> None:
        env_path = self.root / ".state" / "other" / ".env"
        env_path.parent.mkdir(parents=True)
        env_path.write_text("COMPOSE_PROJECT_NAME=other\nWEB_PORT=1\n")
        with mock.patch.dict(os.environ, {"WEB_PORT": "8001", "PATH": "/bin"}, clear=True):
            stack = deployment.load(self.root, env_path=env_path)
            self.assertEqual(stack.value("WEB_PORT"), "1")
            self.assertEqual(Compose(("dc",), stack).environment(), {"PATH": "/bin"})


class WhichStack(Clone):
    def test_later_commands_mean_what_up_chose(self) -> None:
        self.load(MODE="stream", TOPOLOGY="standalone").save_state()
        again = self.load()
        self.assertEqual((again.mode, again.topology), ("stream", "standalone"))

    def test_editing_env_wins_over_an_earlier_choice(self) -> None:
        self.load(MODE="stream").save_state()
        (self.root / ".env").write_text("MODE=celery\nTOPOLOGY=standalone\n")
        self.assertEqual(self.load().topology, "standalone")
        self.assertEqual(self.load().mode, "stream")

    def test_the_command_line_wins_over_everything(self) -> None:
        self.load(MODE="stream").save_state()
        self.assertEqual(self.load(MODE="celery").mode, "celery")

    def test_an_unknown_mode_is_refused_with_the_command(self) -> None:
        with self.assertRaises(StackError) as caught:
            self.load(MODE="kafka")
        self.assertEqual(caught.exception.fix, "make up MODE=celery")

    def test_an_empty_make_variable_is_no_choice(self) -> None:
        self.assertEqual(self.load(MODE="", TOPOLOGY="").mode, "celery")

    def test_image_names_survive_in_the_state(self) -> None:
        self.load().with_images({"APP_IMAGE": "holdfast/app:1"}).save_state()
        self.assertEqual(self.load().state, {"APP_IMAGE": "holdfast/app:1"})

    def test_a_missing_variable_is_an_error_with_a_command(self) -> None:
        with self.assertRaises(StackError) as caught:
            self.load().value("NOWHERE")
        self.assertEqual(caught.exception.fix, "make up")
