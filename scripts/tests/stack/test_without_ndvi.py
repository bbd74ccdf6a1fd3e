"""The example domain can go: without app/ndvi the stack starts, and a job runs."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from scripts.stack import env_file
from scripts.tests.stack.surroundings import PORTS, PROJECT, ROOT, SUBNET_PREFIX

SECONDS = 1200


class WithoutNdvi(unittest.TestCase):
    def setUp(self) -> None:
        self.clone = Path(tempfile.mkdtemp(prefix="holdfast-without-ndvi-"))
        self.addCleanup(shutil.rmtree, self.clone)
        for name in _files():
            target = self.clone / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        shutil.rmtree(self.clone / "app" / "ndvi", ignore_errors=True)  # a fork may have dropped it
        # The unpacked tools are the host's, not the clone's: fetching them again would only take time.
        (self.clone / ".tools").symlink_to(ROOT / ".tools")
        given = {
            **PORTS,
            "COMPOSE_PROJECT_NAME": f"{PROJECT}-without-ndvi",
            "SUBNET_PREFIX": SUBNET_PREFIX,
            "TOPOLOGY": "standalone",
            "HEALTH_INTERVAL": "2s",
            "DOMAIN_APPS": "",
            "SCENES_REPLICAS": "0",
        }
        env_file.ensure(self.clone / ".env", self.clone / ".env.example", given=given)
        self.addCleanup(self.holdfast, "down", "--volumes")

    def holdfast(self, *arguments: str) -> str:
        """Output of one verb in the clone; fails the test with it when the verb fails."""
        command = [sys.executable, "-m", "scripts.stack", *arguments]
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        done = subprocess.run(
            command, cwd=self.clone, env=environment, timeout=SECONDS, text=True, capture_output=True, check=False
        )
        self.assertEqual(done.returncode, 0, f"{' '.join(arguments)}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_the_stack_starts_and_a_probe_runs_in_each_pool(self) -> None:
        self.assertIn("Healthy.", self.holdfast("up"))
        self.assertEqual(self.holdfast("smoke").count("SUCCEEDED"), 3)


def _files() -> list[str]:
    """What git knows or would take: the working tree as a commit of it would be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


if __name__ == "__main__":
    unittest.main()
