"""What names the code that was measured."""

import subprocess
import tempfile
import unittest
from pathlib import Path

from scripts.bench import machine


class Code(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self._git("init", "-q")
        self._commit("app.py", "1")

    def test_words_and_results_are_no_code(self) -> None:
        before = machine.code(self.root)
        (self.root / "docs").mkdir()
        for name in ("README.md", "docs/results.jsonl"):
            self._commit(name, "new")
        (self.root / "README.md").write_text("newer")
        self.assertEqual(machine.code(self.root), before)

    def test_a_change_is_other_code_before_and_after_its_commit(self) -> None:
        before = machine.code(self.root)
        (self.root / "app.py").write_text("2")
        self.assertEqual(machine.code(self.root), before + "+")
        self._commit("app.py", "2")
        self.assertNotIn(machine.code(self.root), (before, before + "+"))

    def _commit(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)
        self._git("add", "-A")
        self._git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "one")

    def _git(self, *argv: str) -> None:
        subprocess.run(["git", "-C", str(self.root), *argv], check=True, capture_output=True)


if __name__ == "__main__":
    unittest.main()
