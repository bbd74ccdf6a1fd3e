"""What is said of services that are not well, and how much they use."""

import json
import unittest

from scripts.stack import footprint, services
from scripts.stack.errors import StackError
from scripts.stack.waiting import wait_until


def row(name: str, state: str, health: str = "", code: int = 0) -> str:
    return json.dumps(
        {"Service": name, "Name": f"p-{name}-1", "ID": f"id-{name}", "State": state, "Health": health, "ExitCode": code}
    )


class Listing(unittest.TestCase):
    def test_reads_lines_and_arrays(self) -> None:
        one = row("web", "running", "healthy")
        self.assertEqual(services.parsed(one), services.parsed(f"[{one}]"))
        self.assertEqual(services.parsed(""), [])

    def test_names_only_those_that_failed_by_themselves(self) -> None:
        rows = [row("migrate", "exited", code=1), row("web", "created"), row("redis-1", "running", "starting")]
        found = services.culprits(services.parsed("\n".join(rows)))
        self.assertEqual([service.name for service in found], ["migrate"])

    def test_names_the_unfinished_when_nothing_failed(self) -> None:
        rows = [row("web", "running", "starting"), row("redis-1", "running", "healthy"), row("migrate", "exited")]
        found = services.culprits(services.parsed("\n".join(rows)))
        self.assertEqual([service.name for service in found], ["web"])

    def test_a_paused_service_is_ill_whatever_its_last_check_said(self) -> None:
        self.assertTrue(services.parsed(row("redis-1", "paused", "healthy"))[0].has_failed)


class Footprint(unittest.TestCase):
    def test_subtracts_inactive_file_cache_of_both_cgroup_versions(self) -> None:
        self.assertEqual(footprint.used_memory(100, "inactive_file 1\ntotal_inactive_file 30\n"), 70)
        self.assertEqual(footprint.used_memory(100, "anon 5\ninactive_file 40\n"), 60)

    def test_finds_cgroups_of_version_one(self) -> None:
        text = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"
        self.assertEqual(footprint.folders(text), ("cpuacct/docker/abc", "memory/docker/abc"))

    def test_finds_cgroups_of_version_two(self) -> None:
        text = "0::/system.slice/docker-abc.scope\n"
        self.assertEqual(footprint.folders(text), ("system.slice/docker-abc.scope",) * 2)

    def test_sums_at_the_end(self) -> None:
        lines = footprint.table([footprint.Usage("web", 0.5, 2**20), footprint.Usage("redis-1", 0.25, 3 * 2**20)])
        self.assertEqual(lines[1].split(), ["redis-1", "0.250", "3"])
        self.assertEqual(lines[-1].split(), ["sum", "0.750", "4"])


class Waiting(unittest.TestCase):
    def test_returns_what_the_condition_returned(self) -> None:
        answers = iter([None, None, 7])
        self.assertEqual(wait_until(lambda: next(answers), within=5, otherwise="never", pause=0.0), 7)

    def test_ends_in_its_own_sentence(self) -> None:
        with self.assertRaises(StackError) as caught:
            wait_until(lambda: None, within=0.01, otherwise="No replica was promoted", pause=0.001)
        self.assertIn("No replica was promoted", caught.exception.what)
