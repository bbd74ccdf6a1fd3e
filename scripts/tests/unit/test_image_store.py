"""Where images come from, on an Engine and registries made up here."""

import unittest
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

from scripts.stack import base_image, console, deployment, image_store, images
from scripts.stack.errors import StackError
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox

ROOT = Path(__file__).resolve().parents[3]


class Choosing(unittest.TestCase):
    def setUp(self) -> None:
        self.present: set[str] = set()
        self.registry_answers = False
        for name, answer in {
            "_is_present": lambda name: name in self.present,
            "_architecture": lambda: "amd64",
            "_engine_mirrors": list,
            "_answers": lambda _host, _mirrors: self.registry_answers,
        }.items():
            patch = mock.patch.object(image_store, name, side_effect=answer)
            patch.start()
            self.addCleanup(patch.stop)
        say = mock.patch.object(console, "say")
        self.say = say.start()
        self.addCleanup(say.stop)

    def store(self, **environment: str) -> ImageStore:
        return ImageStore(deployment.load(ROOT, environment=environment), Toolbox(Path("/nonexistent")))

    def has(self, names: Iterable[str]) -> None:
        self.present |= set(names)

    def test_builds_stand_ins_and_says_so_once_when_no_registry_answers(self) -> None:
        store = self.store()
        self.assertEqual(store.choice.source, "stand-in")
        self.assertEqual(store.choice.source, "stand-in")
        self.say.assert_called_once()

    def test_pulls_when_a_registry_answers(self) -> None:
        self.registry_answers = True
        choice = self.store().choice
        self.assertEqual(choice.source, "official")
        self.assertTrue(choice.python_base.startswith("python:3.13"))

    def test_stand_ins_that_are_there_are_kept_even_when_a_registry_answers(self) -> None:
        self.has(self.store().choice.images.values())
        self.registry_answers = True
        self.assertEqual(self.store().choice.source, "stand-in")

    def test_official_images_that_are_there_need_no_registry(self) -> None:
        official = self.store(IMAGES="pull").choice
        self.has([*official.images.values(), official.python_base])
        self.assertEqual(self.store().choice.source, "official")
        self.say.assert_not_called()

    def test_the_operator_can_force_either(self) -> None:
        self.registry_answers = True
        self.assertEqual(self.store(IMAGES="build").choice.source, "stand-in")
        self.registry_answers = False
        self.assertEqual(self.store(IMAGES="pull").choice.source, "official")

    def test_an_image_named_by_the_operator_is_never_replaced(self) -> None:
        choice = self.store(REDIS_IMAGE="mirror.local/redis:8").choice
        self.assertEqual(choice.images["REDIS_IMAGE"], "mirror.local/redis:8")
        self.assertTrue(choice.images["POSTGRES_IMAGE"].startswith("holdfast/standin-postgres:"))

    def test_a_host_that_cannot_build_is_named_before_anything_starts(self) -> None:
        refusal = StackError("Building needs root.", fix="sudo make images")
        with mock.patch.object(base_image, "check_host", side_effect=refusal), self.assertRaises(StackError):
            self.store().check_buildable()

    def test_nothing_is_asked_of_the_host_when_the_base_is_there(self) -> None:
        self.has([self.store().choice.python_base])
        with mock.patch.object(base_image, "check_host") as check:
            self.store().check_buildable()
        check.assert_not_called()

    def test_the_stand_in_base_carries_its_suite(self) -> None:
        self.assertRegex(images.base_image("trixie", "amd64"), r"^holdfast/standin-base:trixie-[0-9a-f]{12}$")
        self.assertNotEqual(images.base_image("trixie", "amd64"), images.base_image("trixie", "arm64"))
