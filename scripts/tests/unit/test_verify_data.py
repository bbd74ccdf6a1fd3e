"""`make verify-data`: the script for psql, what it answers, and what the operator is told."""

import argparse
import contextlib
import io
import unittest
from pathlib import Path
from unittest import mock

from scripts.stack import verify_data
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.postgres import Postgres
from scripts.stack.verify_data import Finding

ROOT = Path(__file__).resolve().parents[3]
JOB = "01980000-0000-7000-8000-000000000001"


def stack() -> Stack:
    return Stack(root=ROOT, env_path=ROOT / ".env", values={"RETENTION_DAYS": "30"}, mode="celery", topology="sentinel")


class Script(unittest.TestCase):
    text = (ROOT / "app" / "exporter" / "invariants.sql").read_text()

    def test_counts_every_invariant_in_one_snapshot(self) -> None:
        script = verify_data.script(self.text, seconds=60, rows=7)
        self.assertTrue(script.startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"))
        self.assertEqual(script.count("SELECT 'effect_applied_twice', count(*)"), 1)
        self.assertEqual(script.count("LIMIT 1000) AS broken (id);"), script.count("array_agg(broken.id)"))
        self.assertGreaterEqual(script.count("array_agg(broken.id)"), 13)

    def test_fills_in_pieces_and_bounds(self) -> None:
        script = verify_data.script(self.text, seconds=60, rows=7)
        self.assertIn("make_interval(secs => 60)", script)
        self.assertIn("LIMIT 4 * 7::bigint", script)
        self.assertIn("LIKE 'probe.%'", script)
        self.assertNotIn("%(", script)
        self.assertNotIn("'_ended'", script)


class Telling(unittest.TestCase):
    def said(self, *rows: str) -> str:
        parser = argparse.ArgumentParser()
        verify_data.add_arguments(parser)
        with (
            mock.patch.object(Postgres, "rows", return_value=list(rows)),
            contextlib.redirect_stdout(io.StringIO()) as output,
        ):
            self.assertEqual(verify_data.run(parser.parse_args([]), stack()), 0)
        return output.getvalue()

    def test_says_how_many_hold(self) -> None:
        said = self.said("ended_twice|0|", "effect_applied_twice|0|")
        self.assertIn("ok      ended_twice              0\n", said)
        self.assertTrue(said.endswith("All 2 invariants hold.\n"))

    def test_a_broken_one_is_an_error_with_the_command_that_shows_the_job(self) -> None:
        with self.assertRaises(StackError) as caught:
            self.said("ended_twice|0|", f"effect_applied_twice|2|{JOB},{JOB}")
        self.assertIn("1 of 2 invariants are broken: effect_applied_twice.", str(caught.exception))
        self.assertEqual(caught.exception.fix, f"make verify-data JOB={JOB}")

    def test_a_line_names_the_first_ids(self) -> None:
        lines = verify_data.table([Finding("a", 0, ()), Finding("lease_too_far", 5, ("x", "y", "z"))])
        self.assertEqual(lines, ["ok      a                 0", "BROKEN  lease_too_far     5  x y z"])

    def test_what_is_no_job_has_a_command_too(self) -> None:
        step = verify_data.next_step(Finding("uniqueness_not_enforced", 1, ("job_once_for_ever",)))
        self.assertIn("make compose DO=", step)

    def test_one_job_is_shown_by_its_id(self) -> None:
        parser = argparse.ArgumentParser()
        verify_data.add_arguments(parser)
        with (
            mock.patch.object(Postgres, "tables", return_value="the row\n") as tables,
            contextlib.redirect_stdout(io.StringIO()) as output,
        ):
            verify_data.run(parser.parse_args(["--job", JOB]), stack())
        self.assertEqual(tables.call_args.kwargs, {"id": JOB})
        self.assertEqual(output.getvalue(), "the row\n")

    def test_a_stack_that_does_not_run_is_no_healthy_one(self) -> None:
        with (
            mock.patch("scripts.stack.postgres.Containers.ids", return_value=[]),
            self.assertRaisesRegex(StackError, "does not run"),
        ):
            verify_data.look(Stack(ROOT, ROOT / ".env", {"RETENTION_DAYS": "30", "COMPOSE_PROJECT_NAME": "x"}, "", ""))


if __name__ == "__main__":
    unittest.main()
