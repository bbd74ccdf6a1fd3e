"""Plans of faults: the seed decides everything, a file gives the same plan back, a failing one is made smaller."""

import io
import tempfile
import unittest
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

from scripts.chaos import plan, shrink
from scripts.chaos.__main__ import DURATION, RATE
from scripts.chaos.campaign import Campaign
from scripts.chaos.catalogue import KINDS, fault_of
from scripts.chaos.plan import Plan, Step
from scripts.chaos.scene import Scene
from scripts.stack.deployment import MODES, TOPOLOGIES
from scripts.stack.errors import StackError
from scripts.tests.unit import chaos_fakes as fakes


def drawn(seed: int, mode: str = "stream", topology: str = "sentinel") -> Plan:
    return plan.draw(seed, KINDS, mode=mode, topology=topology, duration=40.0, rate=50.0)


def campaign_of(runs: int, first: int) -> list[Plan]:
    """As `make chaos RUNS=n SEED=first` draws it."""
    whole = Campaign(first, runs, MODES, "sentinel", DURATION, RATE, code="", times="judge")
    return [
        plan.draw(seed, KINDS, mode=mode, topology="sentinel", duration=DURATION, rate=RATE)
        for seed, mode in whole.runs_in_order()
    ]


class Drawing(unittest.TestCase):
    def test_the_seed_decides_everything(self) -> None:
        self.assertEqual(drawn(7), drawn(7))
        self.assertNotEqual(drawn(7).steps, drawn(8).steps)
        self.assertNotEqual(drawn(7).steps, drawn(7, "celery").steps)

    def test_consecutive_seeds_walk_through_every_fault_of_a_mode(self) -> None:
        for mode in MODES:
            for topology in TOPOLOGIES:
                fitting = {kind.name for kind in KINDS.values() if kind.applies(mode, topology)}
                met = {step.fault for seed in range(len(fitting)) for step in drawn(seed, mode, topology).steps}
                self.assertEqual(met, fitting)

    def test_a_campaign_of_a_hundred_draws_each_fault_about_equally_often(self) -> None:
        for first in (1, 101, 1001, 5001):
            counts = Counter(step.fault for one in campaign_of(100, first) for step in one.steps)
            self.assertEqual(set(counts), set(KINDS))
            self.assertTrue(min(counts.values()) >= 3 and max(counts.values()) <= 9, (first, counts))

    def test_wherever_a_campaign_begins_no_fault_is_left_out(self) -> None:
        for first in range(1, 800, 37):
            counts = Counter(step.fault for one in campaign_of(100, first) for step in one.steps)
            self.assertGreaterEqual(min(counts[name] for name in KINDS), 2, first)

    def test_the_first_hundred_have_nearly_every_fault_alone(self) -> None:
        alone = [one.steps[0].fault for one in campaign_of(100, 1) if len(one.steps) == 1]
        self.assertGreaterEqual(len(set(alone)), min(len(KINDS), len(alone)) - 1)

    def test_no_fault_is_drawn_that_does_not_apply(self) -> None:
        for seed in range(200):
            for step in drawn(seed, "celery", "standalone").steps:
                self.assertTrue(KINDS[step.fault].applies("celery", "standalone"), step)

    def test_steps_lie_in_order_within_the_load_and_last_as_their_kind_says(self) -> None:
        for seed in range(200):
            steps = drawn(seed).steps
            self.assertEqual([step.at for step in steps], sorted(step.at for step in steps))
            for step in steps:
                least, most = KINDS[step.fault].lasts
                self.assertTrue(0 < step.at < 40 and step.lasts <= most, step)
                self.assertTrue(step.lasts >= least or step.at + step.lasts >= 39.9, step)
                self.assertIn(step.target, KINDS[step.fault].targets)

    def test_some_plans_have_one_fault_and_others_let_them_overlap(self) -> None:
        sizes = {len(drawn(seed).steps) for seed in range(100)}
        self.assertIn(1, sizes)
        self.assertGreater(max(sizes), 3)

    def test_every_kind_of_the_catalogue_has_somebody_who_does_it(self) -> None:
        scene: Scene = fakes.scene()
        for kind in KINDS.values():
            step = Step(1.0, kind.name, kind.targets[0], kind.lasts[1], 0)
            self.assertIn(kind.name, fault_of(scene, step).describe())


class Files(unittest.TestCase):
    def test_a_file_gives_the_same_plan_back(self) -> None:
        for seed in range(20):
            self.assertEqual(plan.parse(drawn(seed).text(), KINDS), drawn(seed))

    def test_reads_what_was_kept(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plan.json"
            path.write_text(drawn(3).text())
            self.assertEqual(plan.read(path, KINDS), drawn(3))

    def test_what_is_no_plan_is_a_sentence(self) -> None:
        missing = Path("/nowhere/plan.json")
        for text in ("", "[]", "{}", '{"v": 1, "steps": [{"at": 1}]}'):
            with self.assertRaises(StackError):
                plan.parse(text, KINDS)
        with self.assertRaises(StackError):
            plan.read(missing, KINDS)

    def test_a_fault_or_a_version_that_is_unknown_is_refused(self) -> None:
        strange = drawn(3).with_steps([Step(1.0, "earthquake", "", 0.0, 0)])
        with self.assertRaisesRegex(StackError, "earthquake"):
            plan.parse(strange.text(), KINDS)
        with self.assertRaisesRegex(StackError, "version 9"):
            plan.parse(drawn(3).text().replace('{"v": 2', '{"v": 9'), KINDS)


def steps(count: int, lasts: float = 1.0) -> list[Step]:
    return [Step(float(number), "flush-all", "", lasts, number) for number in range(count)]


def shrunk(count: int, guilty: set[int], *, tries: int = 1) -> tuple[list[int], int]:
    """The dice of the steps that are left, and how many runs it took."""
    runs: list[int] = []

    def fails(candidate: Plan) -> bool:
        runs.append(1)
        return guilty <= {step.dice for step in candidate.steps}

    with redirect_stdout(io.StringIO()):
        small = shrink.shrink(drawn(1).with_steps(steps(count)), fails, tries=tries)
    return [step.dice for step in small.steps], len(runs)


class Shrinking(unittest.TestCase):
    def test_only_the_guilty_faults_are_left(self) -> None:
        for count, guilty in ((1, {0}), (8, {5}), (8, {0, 7}), (9, {2, 3, 8}), (4, {0, 1, 2, 3})):
            with self.subTest(count=count, guilty=guilty):
                self.assertEqual(shrunk(count, guilty)[0], sorted(guilty))

    def test_a_plan_that_fails_without_any_fault_ends_empty(self) -> None:
        self.assertEqual(shrunk(5, set())[0], [])

    def test_one_guilty_among_many_takes_few_runs(self) -> None:
        self.assertLess(shrunk(16, {11})[1], 16)

    def test_a_candidate_that_fails_at_its_second_try_counts(self) -> None:
        runs: list[int] = []

        def fails(candidate: Plan) -> bool:
            runs.append(1)
            return len(runs) % 2 == 0 and any(step.dice == 1 for step in candidate.steps)

        with redirect_stdout(io.StringIO()):
            small = shrink.shrink(drawn(1).with_steps(steps(4)), fails, tries=2)
        self.assertEqual([step.dice for step in small.steps], [1])

    def test_what_lasts_is_halved_where_it_still_fails(self) -> None:
        def fails(candidate: Plan) -> bool:
            return all(step.lasts >= 4.0 for step in candidate.steps if step.dice == 0) and bool(candidate.steps)

        with redirect_stdout(io.StringIO()):
            small = shrink.shrink(drawn(1).with_steps(steps(1, lasts=9.0)), fails, tries=1)
        self.assertEqual([step.lasts for step in small.steps], [4.5])

    def test_a_smaller_plan_breaks_the_same_promise(self) -> None:
        said = ["no accepted job is lost; lost: 1 (a)", "every flow was back after 30.10 s (limit 20 s)"]
        self.assertEqual(shrink.promises(said), {"no accepted job is lost", shrink.BACK})
        self.assertEqual(shrink.worst(shrink.promises(said)), {"no accepted job is lost"})
        self.assertEqual(shrink.worst({shrink.BACK}), {shrink.BACK})

    def test_the_load_stays_what_it_was(self) -> None:
        with redirect_stdout(io.StringIO()):
            small = shrink.shrink(drawn(2), lambda candidate: bool(candidate.steps), tries=1)
        self.assertEqual((small.seed, small.rate, small.duration), (2, 50.0, 40.0))
        self.assertEqual(len(small.steps), 1)


if __name__ == "__main__":
    unittest.main()
