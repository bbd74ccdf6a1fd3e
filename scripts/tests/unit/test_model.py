"""The model: its exploration against worlds whose answer is known, its promises, and its names against the code's."""

import ast
import io
import os
import re
import unittest
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from unittest import mock

from scripts.model import __main__ as command
from scripts.model import bridge, client, promises, redis, search, sweeper, time_passes, variants, worker
from scripts.model.promises import Promise
from scripts.model.world import NOBODY, Fault, Flaw, Job, Means, State, Step, Worker, World

ROOT = Path(__file__).parents[3]
APP = ROOT / "app"
ACTORS = (client, bridge, worker, sweeper, time_passes, redis)

EVERYTHING = World("", jobs=1, workers=2, faults=2, kinds=frozenset(Fault))


def held(token: int = 1, **fields: object) -> Job:
    """A row under a live lease."""
    row = Job(status="RUNNING", clock="held", attempt=1, token=token, web="done")
    return row._replace(**fields)  # type: ignore[arg-type]


def moment(*jobs: Job, workers: tuple[Worker, ...] = (Worker(), Worker()), faults: int = 0) -> State:
    return State(jobs, workers, has_group=True, faults=faults)


class Variants(unittest.TestCase):
    def test_each_flaw_has_one_variant(self) -> None:
        self.assertCountEqual([one.world.flaw for one in variants.VARIANTS], set(Flaw) - {Flaw.NONE})

    def test_each_variant_breaks_its_promise_where_the_sound_system_keeps_all(self) -> None:
        for variant in variants.VARIANTS:
            with self.subTest(variant.name):
                found = search.explore(variant.world, variant.breaks)
                assert found.broken is not None, f"survived all {found.states} states"
                self.assertIs(found.broken.promise, variant.breaks)
                self.assertIsNone(search.explore(replace(variant.world, flaw=Flaw.NONE)).broken)

    def test_each_promise_is_broken_by_a_variant(self) -> None:
        self.assertEqual({one.breaks for one in variants.VARIANTS}, set(Promise))

    def test_a_story_uses_no_more_faults_than_its_variant_needs(self) -> None:
        for variant in variants.VARIANTS:
            fewer = replace(variant.world, faults=variant.world.faults - 1)
            if variant.world.faults:
                with self.subTest(variant.name):
                    self.assertIsNone(search.explore(fewer, variant.breaks).broken)


class SoundWorlds(unittest.TestCase):
    def test_keep_every_promise_with_fewer_faults(self) -> None:
        """Whole, with as many as `make model` has, they take a minute."""
        for world in variants.SOUND:
            with self.subTest(world.name):
                found = search.explore(replace(world, faults=min(world.faults, 2)))
                self.assertIsNone(found.broken)
                self.assertGreater(found.states, 100)

    def test_every_kind_of_fault_happens_in_one(self) -> None:
        self.assertEqual({kind for world in variants.SOUND for kind in world.kinds}, set(Fault))

    def test_what_only_faults_bring_about_is_seen(self) -> None:
        """A model in which nothing ever goes wrong keeps every promise, too."""
        wanted = (
            *("is rolled back", "with the hint of job", "bridge dies", "worker {worker} dies", "sweeper dies"),
            *(
                "loses a hint",
                "loses everything",
                "group is lost",
                "entry of job {job} appears",
                "message of job {job} ap",
            ),
            *("refuses the hint", "does not say so", "still under way", "the answer is lost", "is cancelled"),
            *("claims again", "rescues", "its token {token} is stale", "too late to fail", "renews its lease"),
            *("wins nothing", "needs no message", "ended by others", "dead letter", "to be repeated", "hands job"),
        )
        told = sentences(replace(EVERYTHING, faults=3))
        for text in wanted:
            with self.subTest(text):
                self.assertTrue(any(text in sentence for sentence in told), "in no step")

    def test_both_ways_to_a_dead_letter_are_seen(self) -> None:
        told = sentences(replace(EVERYTHING, faults=3))
        self.assertIn("the sweeper fails job {job}: dead letter", told)
        self.assertIn("worker {worker} fails job {job}: dead letter", told)


def sentences(world: World) -> set[str]:
    """What is said of any step that the world can take."""
    states, told = [search.canonical(world.start())], set()
    seen = set(states)
    for state in states:
        for step in search.steps(world, state):
            told.add(step.text)
            after = search.canonical(step.after)
            if after not in seen:
                seen.add(after)
                states.append(after)
    return told


class Search(unittest.TestCase):
    def test_states_that_differ_in_names_alone_are_one(self) -> None:
        jobs = (held(unread=True), Job(status="QUEUED", clock="due", web="done"))
        for number in range(2):
            renamed = (jobs[number], jobs[1 - number])
            for workers in permutations((Worker("running", number, 1), Worker("hint", 1 - number))):
                with self.subTest(number=number, workers=workers):
                    self.assertEqual(
                        search.canonical(moment(*renamed, workers=workers)),
                        search.canonical(moment(*jobs, workers=(Worker("running", 0, 1), Worker("hint", 1)))),
                    )

    def test_states_that_differ_in_who_holds_what_are_not(self) -> None:
        jobs = (held(unread=True), held())
        here, there = (moment(*jobs, workers=(Worker("running", job, 1), Worker())) for job in range(2))
        self.assertNotEqual(search.canonical(here), search.canonical(there))

    def test_of_tokens_only_the_order_counts(self) -> None:
        stale = (Worker("running", 0, 3), Worker("running", 0, 7))
        self.assertEqual(
            search.canonical(moment(held(token=7), workers=stale)),
            search.canonical(moment(held(token=1), workers=(Worker("running", 0, 0), Worker("running", 0, 1)))),
        )
        current = moment(held(token=7), workers=(Worker("running", 0, 7), Worker()))
        late = moment(held(token=7), workers=(Worker("running", 0, 3), Worker()))
        self.assertNotEqual(search.canonical(current), search.canonical(late))

    def test_the_reduced_graph_answers_as_the_whole_one(self) -> None:
        world = replace(EVERYTHING, jobs=2, faults=1)
        reduced = search.explore(world)
        with mock.patch.object(search, "canonical", lambda state: state):
            whole = search.explore(world)
        self.assertIsNone(reduced.broken)
        self.assertIsNone(whole.broken)
        self.assertGreater(whole.states, 2 * reduced.states)

    def test_the_reduced_graph_tells_as_short_a_story_as_the_whole_one(self) -> None:
        for variant in variants.VARIANTS:
            with self.subTest(variant.name):
                reduced = search.explore(variant.world, variant.breaks).broken
                with mock.patch.object(search, "canonical", lambda state: state):
                    whole = search.explore(variant.world, variant.breaks).broken
                assert reduced is not None
                assert whole is not None
                self.assertEqual(told(reduced), told(whole))

    def test_stories_name_the_same_job_and_worker_throughout(self) -> None:
        variant = next(one for one in variants.VARIANTS if one.world.flaw is Flaw.FENCE_BY_STATE_ALONE)
        broken = search.explore(variant.world, variant.breaks).broken
        assert broken is not None
        claims = [sentence for sentence in broken.story if re.search("claims|rescues", sentence)]
        self.assertEqual(len(claims), 2)
        first, second = (re.findall(r"worker \d", sentence)[0] for sentence in claims)
        self.assertNotEqual(first, second)
        self.assertTrue(broken.story[-1].startswith(f"{first} finishes job a"), broken.story[-1])


def told(broken: search.Broken) -> int:
    """Sentences up to where the promise fell; what a lost job's system does afterwards comes in any order."""
    return len([sentence for sentence in broken.story if not sentence.startswith(("then ", "and "))])


class Promises(unittest.TestCase):
    """Each judged on one step."""

    def judge(self, before: State, after: State, **step: object) -> Promise | None:
        world = replace(EVERYTHING, jobs=len(before.jobs), same_request=len(before.jobs) > 1)
        return promises.broken_by(world, before, Step("", after, **step))  # type: ignore[arg-type]

    def end(self, row: Job, then: Job, *, token: int = 1) -> Promise | None:
        workers = (Worker("running", 0, token), Worker())
        before, after = moment(row, workers=workers), moment(then)
        return self.judge(before, after, job=0, worker=0, ends_attempt=True)

    def test_a_finish_by_the_holder_keeps_all(self) -> None:
        self.assertIsNone(self.end(held(), held(status="SUCCEEDED", clock="", token=2, effects=1)))

    def test_sees_a_stale_finish(self) -> None:
        then = held(status="SUCCEEDED", clock="", token=2, effects=1)
        self.assertIs(self.end(held(), then, token=0), Promise.ENDED_BY_HOLDER)

    def test_sees_a_second_effect_and_none(self) -> None:
        done = held(status="SUCCEEDED", clock="", token=2)
        self.assertIs(self.end(held(effects=1), done._replace(effects=2)), Promise.ONE_EFFECT)
        self.assertIs(self.end(held(), done), Promise.EFFECT_OF_SUCCESS)

    def test_sees_a_token_that_falls_and_one_that_stays(self) -> None:
        self.assertIs(self.end(held(token=1), held(token=0)), Promise.TOKENS_GROW)
        self.assertIs(self.end(held(), held(status="QUEUED", clock="due")), Promise.TOKENS_GROW)

    def test_sees_the_end_undone(self) -> None:
        ended = held(status="FAILED", clock="", bad_ends=2)
        self.assertIs(self.judge(moment(ended), moment(held(token=2)), job=0), Promise.LEGAL)

    def test_sees_a_dead_letter_after_one_bad_end(self) -> None:
        last = held(attempt=2)
        self.assertIs(self.end(last, last._replace(status="FAILED", token=2, bad_ends=1)), Promise.DEAD_WITH_CAUSE)
        self.assertIsNone(self.end(last, last._replace(status="FAILED", token=2, bad_ends=2)))

    def test_sees_two_open_jobs_of_one_request(self) -> None:
        waiting = Job(status="QUEUED", clock="due", web="done")
        before = moment(waiting, Job(web="inserted"))
        self.assertIs(self.judge(before, moment(waiting, waiting._replace(token=0)), job=1), Promise.ONE_OPEN_ID)

    def test_sees_a_lease_taken_too_early_and_grants_a_late_rescue(self) -> None:
        hint = (Worker("running", 0, 1), Worker("hint", 0))
        rescued = moment(held(token=2, attempt=2))
        early = self.judge(moment(held(), workers=hint), rescued, job=0, worker=1)
        late = self.judge(moment(held(clock="over"), workers=hint), rescued, job=0, worker=1)
        self.assertEqual((early, late), (Promise.LEASE_KEPT, None))


class NamesOfTheCode(unittest.TestCase):
    """The reader who checks the model against the code is led to what is there."""

    def setUp(self) -> None:
        self.docstrings = [
            ast.get_docstring(node) or ""
            for actor in ACTORS
            for node in ast.walk(ast.parse(Path(actor.__file__ or "").read_text()))
            if isinstance(node, ast.FunctionDef | ast.Module)
        ]

    def test_functions_are_there(self) -> None:
        named = {name for text in self.docstrings for name in re.findall(r"`(\w+(?:\.\w+)+)`", text)}
        self.assertGreater(len(named), 20)
        for name in sorted(named):
            with self.subTest(name):
                self.assertTrue(is_defined(name), "no such function in the application")

    def test_statements_are_there(self) -> None:
        statements = "\n".join(path.read_text() for path in sorted((APP / "jobs/sql").glob("*.py")))
        named = {name for text in self.docstrings for name in re.findall(r"sql\.([A-Z_]+)", text)}
        self.assertGreater(len(named), 8)
        for name in sorted(named):
            with self.subTest(name):
                self.assertRegex(statements, rf"(?m)^{name}\b")

    def test_every_actor_names_what_it_stands_for(self) -> None:
        for actor in ACTORS:
            tree = ast.parse(Path(actor.__file__ or "").read_text())
            public = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
            for function in public:
                if function.name != "steps" and function.name != "hinted":
                    with self.subTest(f"{actor.__name__}.{function.name}"):
                        self.assertTrue(ast.get_docstring(function))

    def test_states_are_those_of_the_code(self) -> None:
        states = re.findall(r'^    [A-Z]+ = "([A-Z]+)", "', (APP / "jobs/states.py").read_text(), re.MULTILINE)
        world = (ROOT / "scripts/model/world.py").read_text()
        self.assertTrue(states)
        for state in states[:5]:
            self.assertIn(f'"{state}"', world)


def is_defined(dotted: str) -> bool:
    """Whether a module of the application defines it, at its top or in a class. By its text: it is newer Python."""
    module, _, name = dotted.rpartition(".")
    indent = ""
    if not (path := APP / f"{module.replace('.', '/')}.py").exists():
        module, _, owner = module.rpartition(".")
        path, indent = APP / f"{module.replace('.', '/')}.py", "    "
        if not path.exists() or not re.search(rf"(?m)^class {owner}\b", path.read_text()):
            return False
    return re.search(rf"(?m)^{indent}(def|class) {name}\b", path.read_text()) is not None


class Command(unittest.TestCase):
    def run_with(self, only: str = "") -> tuple[int, str]:
        out = io.StringIO()
        with mock.patch.dict(os.environ, {"ONLY": only}), redirect_stdout(out), redirect_stderr(out):
            status = command.main()
        return status, out.getvalue()

    def test_tells_the_whole_story_of_one_variant(self) -> None:
        status, out = self.run_with("claim-ignores-lease")
        self.assertEqual(status, 0)
        self.assertIn(" 1  web inserts job a\n", out)
        self.assertIn("worker 2 rescues job a", out)

    def test_refuses_a_variant_that_is_none(self) -> None:
        status, out = self.run_with("no-such")
        self.assertEqual(status, 2)
        self.assertIn("effect-outside-transaction", out)

    def test_a_variant_that_survives_is_a_failure(self) -> None:
        harmless = variants.Variant("nothing is broken", EVERYTHING, Promise.ENDS)
        with mock.patch.multiple(command, SOUND=(), VARIANTS=(harmless,)):
            status, out = self.run_with()
        self.assertEqual(status, 1)
        self.assertIn("SURVIVES", out)
        self.assertIn("is to break ENDS, and breaks nothing", out)

    def test_a_variant_that_breaks_another_promise_than_its_own_is_a_failure(self) -> None:
        """Also where that one is a lost job, which only the whole graph shows: it answers no other question."""
        lost = next(one for one in variants.VARIANTS if one.world.flaw is Flaw.NO_SWEEPER)
        early = next(one for one in variants.VARIANTS if one.world.flaw is Flaw.CLAIM_IGNORES_LEASE)
        for variant, wrong in ((lost, Promise.ONE_EFFECT), (early, Promise.DEAD_WITH_CAUSE)):
            named = replace(variant, breaks=wrong)
            for only in ("", named.name):
                with self.subTest(named.name, only=only), mock.patch.multiple(command, SOUND=(), VARIANTS=(named,)):
                    status, out = self.run_with(only)
                    self.assertEqual(status, 1)
                    self.assertIn(f"is to break {wrong.name}, and breaks {variant.breaks.name}\n", out)

    def test_a_sound_world_that_breaks_a_promise_is_a_failure(self) -> None:
        broken = variants.VARIANTS[0].world
        with mock.patch.multiple(command, SOUND=(broken,), VARIANTS=()):
            status, out = self.run_with()
        self.assertEqual(status, 1)
        self.assertIn("lost:", out)
        self.assertIn("nothing moves any more", out)


class Fairness(unittest.TestCase):
    def test_only_the_system_itself_counts_as_a_way_out(self) -> None:
        """A client that asks again, or a fault that happens to repeat a hint, is nothing to rely on."""
        lost = replace(
            EVERYTHING, flaw=Flaw.NO_SWEEPER, faults=2, kinds=frozenset({Fault.HINT_LOST, Fault.HINT_REPEATED})
        )
        broken = search.explore(lost).broken
        assert broken is not None
        self.assertIs(broken.promise, Promise.ENDS)

    def test_faults_are_used_up(self) -> None:
        state = EVERYTHING.start()._replace(jobs=(Job(status="QUEUED", clock="due", web="done", listed=True),))
        for step in search.steps(EVERYTHING, state):
            spent = state.faults - step.after.faults
            with self.subTest(step.text):
                self.assertEqual(spent, step.means is Means.FAULT)

    def test_without_faults_left_none_happens(self) -> None:
        state = moment(held(unread=True, listed=True), workers=(Worker("running", 0, 1), Worker()))
        self.assertNotIn(Means.FAULT, {step.means for step in search.steps(EVERYTHING, state)})
        self.assertEqual(Worker().job, NOBODY)


if __name__ == "__main__":
    unittest.main()
