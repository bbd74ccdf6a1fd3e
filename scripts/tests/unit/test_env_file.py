"""`.env`: written once, topped up, never overwritten."""

import base64
import re
import tempfile
import unittest
from pathlib import Path

from scripts.stack import env_file
from scripts.stack.errors import StackError

EXAMPLE = """# What it is. [all]
PORT=8000
# DEFAULT=9
TOKEN=change-me
HOLDFAST_API_KEY=change-me
"""


class EnvFile(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / ".env"
        self.example = self.folder / ".env.example"
        self.example.write_text(EXAMPLE)

    def test_first_start_generates_every_secret_and_closes_the_file(self) -> None:
        env_file.ensure(self.path, self.example)
        values = env_file.parse(self.path.read_text())
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(values["PORT"], "8000")
        self.assertEqual(len(values["TOKEN"]), 64)
        self.assertRegex(values["HOLDFAST_API_KEY"], r"^hf_[a-z0-9]{8}_[0-9a-f]{64}$")

    def test_the_webhook_secret_has_the_form_that_receivers_know(self) -> None:
        first, second = (env_file.new_secret("WEBHOOK_SECRET") for _ in range(2))
        self.assertRegex(first, r"^whsec_[A-Za-z0-9+/]{64}$")
        self.assertEqual(len(base64.b64decode(first.removeprefix("whsec_"), validate=True)), 48)
        self.assertNotEqual(first, second)

    def test_second_start_changes_nothing(self) -> None:
        env_file.ensure(self.path, self.example)
        before = self.path.read_text()
        self.assertIsNone(env_file.ensure(self.path, self.example))
        self.assertEqual(self.path.read_text(), before)

    def test_keeps_a_value_that_differs_from_the_example(self) -> None:
        self.path.write_text("PORT=9999\n")
        env_file.ensure(self.path, self.example)
        self.assertEqual(env_file.parse(self.path.read_text())["PORT"], "9999")

    def test_appends_what_a_newer_example_adds(self) -> None:
        self.path.write_text("PORT=9999")
        sentence = env_file.ensure(self.path, self.example)
        self.assertIn("TOKEN", sentence or "")
        self.assertTrue(self.path.read_text().startswith("PORT=9999\n"))

    def test_a_file_that_the_operator_began_is_completed_and_closed(self) -> None:
        self.path.write_text("PORT=8001\n")
        self.path.chmod(0o644)
        env_file.ensure(self.path, self.example)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(set(env_file.parse(self.path.read_text())), {"PORT", "TOKEN", "HOLDFAST_API_KEY"})

    def test_refuses_placeholders_and_names_them(self) -> None:
        self.path.write_text("PORT=1\nTOKEN=change-me\nHOLDFAST_API_KEY=\n")
        with self.assertRaises(StackError) as caught:
            env_file.ensure(self.path, self.example)
        self.assertIn("TOKEN, HOLDFAST_API_KEY", caught.exception.what)

    def test_takes_given_values_into_a_new_file(self) -> None:
        env_file.ensure(self.path, self.example, given={"PORT": "1", "EXTRA": "2"})
        values = env_file.parse(self.path.read_text())
        self.assertEqual((values["PORT"], values["EXTRA"]), ("1", "2"))

    def test_a_name_that_nothing_reads_is_told_from_a_forks_own(self) -> None:
        names = ["PORT", "DEFALT", "TOKEN_FILE", "WEB_PROT", "REPORTS_BUCKET"]
        self.assertEqual(
            env_file.misspelt(names, EXAMPLE + "# WEB_PORT=1\n"), {"DEFALT": "DEFAULT", "WEB_PROT": "WEB_PORT"}
        )

    def test_a_documented_default_is_not_an_assignment(self) -> None:
        self.assertEqual(env_file.documented_defaults(EXAMPLE), {"DEFAULT": "9"})
        self.assertNotIn("DEFAULT", env_file.parse(EXAMPLE))

    def test_drops_quotes_around_a_value(self) -> None:
        self.assertEqual(env_file.parse("A='x y'\nB=\"z\"\nC=don't"), {"A": "x y", "B": "z", "C": "don't"})

    def test_secret_files_are_readable_in_a_closed_directory(self) -> None:
        secrets = self.folder / "secrets"
        env_file.write_secret_files({"TOKEN": "one"}, ["TOKEN"], secrets)
        self.assertEqual(secrets.stat().st_mode & 0o777, 0o700)
        self.assertEqual((secrets / "token").stat().st_mode & 0o777, 0o444)
        self.assertEqual(env_file.remembered_secrets(["TOKEN", "OTHER"], secrets), {"TOKEN": "one"})

    def test_a_changed_secret_is_written_in_place(self) -> None:
        secrets = self.folder / "secrets"
        env_file.write_secret_files({"TOKEN": "one"}, ["TOKEN"], secrets)
        inode = (secrets / "token").stat().st_ino
        env_file.write_secret_files({"TOKEN": "two"}, ["TOKEN"], secrets)
        self.assertEqual((secrets / "token").read_text(), "two")
        self.assertEqual((secrets / "token").stat().st_ino, inode)

    def test_two_keys_are_never_the_same(self) -> None:
        keys = {env_file.new_api_key() for _ in range(100)}
        self.assertEqual(len(keys), 100)
        self.assertTrue(all(re.fullmatch(r"hf_[a-z0-9]{8}_[0-9a-f]{64}", key) for key in keys))
