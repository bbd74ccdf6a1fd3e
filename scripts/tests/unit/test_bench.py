"""What the bench makes of the pairs that it measured."""

import unittest

from scripts.bench import results, tables
from scripts.bench.results import Record


def pair(number: int, stock: float, ours: float) -> list[Record]:
    common = {"shape": "following: drain", "round": number}
    columns = zip(tables.FOLLOWERS, (stock, ours), strict=True)
    return [{**common, "contender": name, "cpu_us_per_job": value} for name, value in columns]


class Intervals(unittest.TestCase):
    def test_holds_the_mean_and_narrows_where_rounds_agree(self) -> None:
        near, far = (results.mean_with_interval([10 - spread, 10 + spread] * 10) for spread in (0.1, 3.0))
        for figure in (near, far):
            self.assertAlmostEqual(figure.median, 10.0)
            self.assertTrue(figure.low < 10.0 < figure.high)
        self.assertLess(near.high - near.low, far.high - far.low)

    def test_the_same_rounds_give_the_same_interval(self) -> None:
        values = [1.0, 1.2, 0.9, 1.4]
        self.assertEqual(results.mean_with_interval(values), results.mean_with_interval(values))


class Following(unittest.TestCase):
    def test_compares_only_pairs_of_one_round(self) -> None:
        whole = [*pair(1, 1000.0, 1010.0), *pair(2, 2000.0, 2020.0)]
        head, row = tables.following([*whole, *pair(3, 900.0, 5000.0)[:1]])[1:]
        self.assertIn("share (95 %)", head)
        self.assertIn("2      1,500.00", row)
        self.assertIn("+15.00 (+10.00 to +20.00)", row)
        self.assertIn("+1.00 (+1.00 to +1.00) %", row)

    def test_says_nothing_where_nothing_was_measured(self) -> None:
        self.assertEqual(tables.following(pair(1, 1.0, 1.0)[:1]), [])


if __name__ == "__main__":
    unittest.main()
