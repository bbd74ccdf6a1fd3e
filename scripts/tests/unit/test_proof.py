"""The long proof: what was not shown is never counted as held."""

import io
import unittest
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from scripts.proof.__main__ import Part, chosen, parts, prove, targets_of
from scripts.stack.errors import StackError

ALL = frozenset(part.target for part in parts())


def proved(wanted: Sequence[Part], targets: frozenset[str] = ALL, broken: str = "") -> tuple[list[str], int]:
    with redirect_stdout(io.StringIO()):
        return prove(wanted, targets, lambda argv: int(argv[1] == broken))


class Proof(unittest.TestCase):
    def test_all_parts_whole_and_held_are_0(self) -> None:
        lines, status = proved(parts())
        self.assertEqual(status, 0)
        self.assertEqual([line.split()[0] for line in lines], ["held"] * 5)

    def test_a_broken_part_stops_none_of_the_others(self) -> None:
        lines, status = proved(parts(), broken="mutants")
        self.assertEqual(status, 1)
        self.assertEqual([line.split()[0] for line in lines], ["held", "BROKEN", "held", "held", "held"])

    def test_a_campaign_that_is_cut_short_is_quoted_with_its_count(self) -> None:
        lines, status = proved(parts(20, 10))
        self.assertEqual(status, 1)
        self.assertRegex(lines[2], "^cut short   chaos: .*; 20 of 100 runs$")
        self.assertRegex(lines[4], "^cut short   failover-soak: .*; 10 of 200 rounds$")

    def test_a_part_that_is_not_there_is_left_out_and_named(self) -> None:
        lines, status = proved(parts(), ALL - {"mutants"})
        self.assertEqual(status, 1)
        self.assertIn("left out    mutants", lines[1])

    def test_only_leaves_the_others_out_by_name(self) -> None:
        taken, left_out = chosen(parts(), "model,chaos")
        self.assertEqual([part.target for part in taken], ["model", "chaos"])
        self.assertEqual(len(left_out), 3)
        with self.assertRaisesRegex(StackError, "typo"):
            chosen(parts(), "typo")

    def test_reads_the_targets_of_this_makefile(self) -> None:
        makefile = (Path(__file__).resolve().parents[3] / "Makefile").read_text()
        self.assertLessEqual({"chaos", "model", "verify-long"}, targets_of(makefile))


if __name__ == "__main__":
    unittest.main()
