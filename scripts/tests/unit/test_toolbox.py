"""Tools that the host brings, and those that are unpacked."""

import tempfile
import unittest
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from scripts.stack import apt, toolbox
from scripts.stack.errors import StackError
from scripts.stack.toolbox import Toolbox

BINARY = "usr/libexec/docker/cli-plugins/docker-compose"


class ComposeOfTheHost(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.versions: dict[str, tuple[int, ...]] = {}
        self.fetched: list[str] = []
        for owner, name, replacement in (
            (toolbox, "compose_version", self.version_of),
            (apt, "fetch", self.fetch),
            (apt, "is_available", lambda: True),
            (apt, "host_mirrors", lambda: apt.Mirrors(main="http://mirror/debian", security=None)),
        ):
            patch = mock.patch.object(owner, name, replacement)
            patch.start()
            self.addCleanup(patch.stop)

    def version_of(self, argv: Sequence[str]) -> tuple[int, ...] | None:
        return self.versions.get(" ".join(argv)) or ((2, 26, 1) if argv[0].startswith(str(self.folder)) else None)

    def fetch(self, package: str, *, into: Path, folder: Path) -> Path:
        del folder
        self.fetched.append(package)
        (into / BINARY).parent.mkdir(parents=True)
        (into / BINARY).touch()
        return into

    def test_takes_the_plugin_of_the_host_when_it_is_new_enough(self) -> None:
        self.versions = {"docker compose": (2, 24, 0)}
        self.assertEqual(Toolbox(self.folder).compose(), ("docker", "compose"))

    def test_a_version_after_2_is_new_enough(self) -> None:
        self.versions = {"docker compose": (5, 0, 0)}
        self.assertEqual(Toolbox(self.folder).compose(), ("docker", "compose"))

    def test_unpacks_the_distribution_package_where_the_host_has_an_old_one(self) -> None:
        self.versions = {"docker compose": (2, 20, 3), "docker-compose": (1, 29, 2)}
        self.assertEqual(Toolbox(self.folder).compose(), (str(self.folder / "compose" / BINARY),))
        self.assertEqual(self.fetched, ["docker-compose"])

    def test_unpacks_once(self) -> None:
        Toolbox(self.folder).compose()
        Toolbox(self.folder).compose()
        self.assertEqual(len(self.fetched), 1)

    def test_says_where_to_get_it_on_a_host_without_apt(self) -> None:
        with mock.patch.object(apt, "is_available", return_value=False), self.assertRaises(StackError) as caught:
            Toolbox(self.folder).compose()
        self.assertIn("2.24", caught.exception.what)
        self.assertIn("https://docs.docker.com/compose/", caught.exception.fix)

    def test_refuses_a_distribution_whose_own_package_is_too_old(self) -> None:
        self.versions = {str(self.folder / "compose" / BINARY): (2, 17, 0)}
        with self.assertRaises(StackError) as caught:
            Toolbox(self.folder).compose()
        self.assertIn("2.17.0", caught.exception.what)
        self.assertFalse((self.folder / "compose").exists())
