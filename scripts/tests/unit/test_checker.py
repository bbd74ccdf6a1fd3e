"""The history checker: small histories, each defect beside its clean neighbour, and planted ones in made-up runs."""

import ast
import contextlib
import io
import json
import os
import random
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from scripts.checker import __main__ as command_line
from scripts.checker import defects, make_up
from scripts.checker.database import database
from scripts.checker.errors import InputInvalid
from scripts.checker.evidence import Evidence, Finding, lay_out
from scripts.checker.history import events
from scripts.checker.judge import judge
from scripts.checker.lines import Line, read
from scripts.checker.report import lines, summed_up
from scripts.checker.rules import judged
from scripts.checker.sample import whole

SEED = int(os.environ.get("HOLDFAST_SEED") or random.SystemRandom().randrange(1_000_000))

Object = dict[str, Any]


def event(type_: str, op: str, at: float, actor: str = "w1", **members: object) -> Object:
    return {"type": type_, "op": op, "actor": actor, "mono": at, "wall": 1000 + at, **members}


def did(op: str, begin: float, end: float, actor: str = "w1", *, told: str = "ok", **members: object) -> list[Object]:
    """An invoke and its end."""
    members = {"call": f"{op}{begin}", "job": "a", **members}
    return [event("invoke", op, begin, actor, **members), event(told, op, end, actor, **members)]


def job(state: str = "SUCCEEDED", id_: str = "a", **members: object) -> Object:
    return {"row": "job", "id": id_, "state": state, **members}


def steps(*states: str, tokens: tuple[int, ...] = (), id_: str = "a") -> list[Object]:
    pairs = zip(("", *states), states, strict=False)
    return [
        {"row": "step", "job": id_, "seq": seq, "from": before, "to": to, "token": tokens[seq] if tokens else seq}
        for seq, (before, to) in enumerate(pairs)
    ]


def letter(reason: str = "permanent", id_: str = "a", **members: str) -> Object:
    return {"row": "dead_letter", "job": id_, "reason": reason, **members}


ACCEPTED = event("ok", "accept", 0.0, "web", job="a")


def laid(happened: list[Object], rows: list[Object], *, clock: str = "mono") -> Evidence:
    history = events([Line(json.loads(json.dumps(one)), "h") for one in happened], clock=clock)
    return lay_out(history, database([Line(json.loads(json.dumps(one)), "d") for one in rows]))


class Case(unittest.TestCase):
    def found(self, happened: list[Object], rows: list[Object]) -> list[Finding]:
        return judged(laid(happened, rows))

    def defects(self, happened: list[Object], rows: list[Object]) -> list[str]:
        return [finding.defect for finding in self.found(happened, rows)]

    def clean(self, happened: list[Object], rows: list[Object]) -> None:
        self.assertEqual(self.found(happened, rows), [])


class Lost(Case):
    def test_accepted_and_no_row(self) -> None:
        self.assertEqual(self.found([ACCEPTED], []), [Finding("lost", "a", "was accepted and has no row")])

    def test_accepted_and_never_ended(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job("RUNNING")]), ["lost"])

    def test_each_end_is_an_end(self) -> None:
        for state in ("SUCCEEDED", "CANCELLED"):
            self.clean([ACCEPTED], [job(state)])
        self.clean([ACCEPTED], [job("FAILED"), letter()])

    def test_a_timeout_promises_nothing(self) -> None:
        self.clean([event("info", "accept", 0.0, request="r")], [])

    def test_neither_does_an_invoke_without_an_end(self) -> None:
        self.clean([event("invoke", "accept", 0.0, job="a", call=1)], [])


class Unexpected(Case):
    def test_a_row_that_nobody_asked_for(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job(), job(id_="b")]), ["unexpected"])

    def test_a_timeout_may_have_been_accepted(self) -> None:
        self.clean([event("info", "accept", 0.0, request="r")], [job(request="r")])

    def test_so_may_what_was_never_answered(self) -> None:
        self.clean([event("invoke", "accept", 0.0, request="r", call=1)], [job(request="r")])

    def test_a_refusal_may_not(self) -> None:
        refused = did("accept", 0.0, 0.1, "client", told="fail", job=None, request="r")
        self.assertEqual(self.defects(refused, [job(request="r")]), ["unexpected"])

    def test_a_refusal_beside_a_timeout_of_the_same_request_says_nothing(self) -> None:
        refused = did("accept", 0.0, 0.1, "client", told="fail", job=None, request="r")
        self.clean([*refused, event("info", "accept", 0.2, request="r")], [job(request="r")])

    def test_a_follow_up_was_asked_for_by_its_parent(self) -> None:
        self.clean([ACCEPTED], [job(), job(id_="b", parent="a")])

    def test_two_rows_of_one_request(self) -> None:
        asked = event("ok", "accept", 0.0, request="r", job="a")
        self.assertEqual(self.defects([asked], [job(request="r"), job(id_="b", request="r")]), ["unexpected"])

    def test_a_replay_and_a_second_try_are_of_the_same_request(self) -> None:
        asked = event("ok", "accept", 0.0, request="r", job="a")
        dead = job("FAILED", request="r", hash="h", accepted=0.0, ended=1.0)
        again = job(id_="b", request="r", hash="h", accepted=9.0, replay_of="a")
        self.clean([asked], [dead, letter(replayed_as="b"), again])

    def test_an_effect_of_what_did_not_end_well(self) -> None:
        effect = {"row": "effect", "job": "a", "name": "e", "count": 1}
        self.assertEqual(self.defects([ACCEPTED], [job("CANCELLED"), effect]), ["unexpected"])
        self.clean([ACCEPTED], [job(), effect])

    def test_an_effect_without_a_row(self) -> None:
        effect = {"row": "effect", "job": "b", "name": "e", "count": 1}
        self.assertEqual(self.defects([ACCEPTED], [job(), effect]), ["unexpected"])


class Effects(Case):
    def effect(self, count: int, name: str = "e") -> Object:
        return {"row": "effect", "job": "a", "name": name, "count": count}

    def test_twice_is_a_defect(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job(), self.effect(2)]), ["duplicated effect"])

    def test_two_effects_are_not_one_twice(self) -> None:
        self.clean([ACCEPTED], [job(wants=2), self.effect(1), self.effect(1, "f")])

    def test_twice_in_the_history_of_a_system_without_a_table(self) -> None:
        applied = [event("ok", "effect", at, job="a", name="e") for at in (1.0, 2.0)]
        self.assertEqual(self.defects([ACCEPTED, *applied], [job()]), ["duplicated effect"])
        self.clean([ACCEPTED, applied[0]], [job()])

    def test_fewer_than_wanted(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job(wants=1)]), ["lost effect"])
        self.clean([ACCEPTED], [job("CANCELLED", wants=1)])


class Transitions(Case):
    def test_a_life_with_everything_in_it(self) -> None:
        life = steps("QUEUED", "RUNNING", "QUEUED", "RUNNING", "RUNNING", "SUCCEEDED")
        self.clean([ACCEPTED], [job(), *life])

    def test_out_of_an_end(self) -> None:
        life = steps("QUEUED", "RUNNING", "SUCCEEDED", "RUNNING", "SUCCEEDED")
        self.assertEqual(self.defects([ACCEPTED], [job(), *life]), ["illegal transition"])

    def test_a_gap(self) -> None:
        life = steps("QUEUED", "RUNNING", "SUCCEEDED")
        del life[1]
        (gap,) = self.found([ACCEPTED], [job(), *life])
        sentence = "was QUEUED, and step 2 made it SUCCEEDED as if it were RUNNING"
        self.assertEqual(gap, Finding("illegal transition", "a", sentence))

    def test_a_row_that_contradicts_its_timeline(self) -> None:
        life = steps("QUEUED", "RUNNING", "FAILED")
        self.assertEqual(self.defects([ACCEPTED], [job(), *life]), ["illegal transition"])

    def test_two_acknowledged_ends(self) -> None:
        ends = [*did("finish", 1.0, 1.1, token=1), *did("finish", 1.2, 1.3, "w2", token=1)]
        self.assertEqual(self.defects([ACCEPTED, *ends], [job()]), ["illegal transition"])

    def test_an_end_whose_answer_was_lost_is_not_another(self) -> None:
        ends = [*did("finish", 1.0, 1.1, token=1, told="info"), *did("finish", 1.2, 1.3, token=1)]
        self.clean([ACCEPTED, *ends], [job()])

    def test_told_one_end_and_holds_another(self) -> None:
        end = did("finish", 1.0, 1.1, token=1, state="SUCCEEDED")
        self.assertEqual(self.defects([ACCEPTED, *end], [job("CANCELLED")]), ["illegal transition"])

    def test_claimed_after_its_end(self) -> None:
        end = did("finish", 1.0, 1.1, token=1)
        self.assertEqual(
            self.defects([ACCEPTED, *end, *did("claim", 1.2, 1.3, token=3)], [job()]), ["illegal transition"]
        )

    def test_a_claim_that_was_under_way_may_have_been_before(self) -> None:
        end = did("finish", 1.0, 1.1, token=3)
        self.clean([ACCEPTED, *did("claim", 0.9, 1.3, "w2", token=3), *end], [job()])

    def test_a_claim_that_the_database_does_not_know(self) -> None:
        life = steps("QUEUED", "RUNNING", "SUCCEEDED")
        self.clean([ACCEPTED, *did("claim", 0.1, 0.2, token=1)], [job(), *life])
        self.assertEqual(
            self.defects([ACCEPTED, *did("claim", 0.1, 0.2, token=7)], [job(), *life]), ["illegal transition"]
        )

    def test_another_systems_states(self) -> None:
        machine = {"row": "machine", "legal": [["", "new"], ["new", "done"]], "good": ["done"], "dead": []}
        machine |= {"lettered": [], "named": []}
        self.clean([ACCEPTED], [machine, job("done"), *steps("new", "done")])
        self.assertEqual(self.defects([ACCEPTED], [machine, job("new")]), ["lost"])


class Leases(Case):
    def test_a_token_that_stands_still(self) -> None:
        life = steps("QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCEEDED", tokens=(0, 1, 2, 2, 3))
        self.assertEqual(self.defects([ACCEPTED], [job(), *life]), ["lease token"])

    def test_two_holders_of_one_token(self) -> None:
        claims = [*did("claim", 1.0, 1.1, "w1", token=1), *did("claim", 1.0, 1.1, "w2", token=1)]
        self.assertEqual(self.defects([ACCEPTED, *claims], [job()]), ["lease token"])

    def test_a_token_that_falls(self) -> None:
        claims = [*did("claim", 1.0, 1.1, "w1", token=3), *did("claim", 2.0, 2.1, "w2", token=1)]
        self.assertEqual(self.defects([ACCEPTED, *claims], [job()]), ["lease token"])

    def test_claims_that_overlap_may_be_written_down_in_any_order(self) -> None:
        claims = [*did("claim", 1.0, 5.0, "frozen", token=1), *did("claim", 2.0, 2.1, "w2", token=3)]
        self.clean([ACCEPTED, *claims], [job()])

    def test_a_finish_with_an_old_token(self) -> None:
        claims = [*did("claim", 1.0, 1.1, token=1), *did("claim", 2.0, 2.1, "w2", token=2)]
        (stale,) = self.found([ACCEPTED, *claims, *did("finish", 3.0, 3.1, token=1)], [job()])
        sentence = "a stale finish was accepted: token 1 of w1 after 2 had been won"
        self.assertEqual(stale, Finding("lease token", "a", sentence))
        self.clean([ACCEPTED, *claims, *did("finish", 3.0, 3.1, token=1, told="fail")], [job()])
        self.clean([ACCEPTED, *claims, *did("finish", 3.0, 3.1, "w2", token=2)], [job()])


class Hashes(Case):
    def two(self, ended: float | None, accepted: float, state: str = "FAILED") -> list[Object]:
        first = job(state, hash="h", accepted=0.0, ended=ended)
        second = job("SUCCEEDED", "b", hash="h", accepted=accepted, ended=accepted + 1)
        return [first, second, *([letter()] if state == "FAILED" else [])]

    asked = [ACCEPTED, event("ok", "accept", 0.0, job="b")]

    def test_accepted_while_another_was_live(self) -> None:
        self.assertEqual(self.defects(self.asked, self.two(100.0, 50.0)), ["two open ids"])

    def test_accepted_beside_one_that_succeeded(self) -> None:
        self.assertEqual(self.defects(self.asked, self.two(10.0, 50.0, "SUCCEEDED")), ["two open ids"])

    def test_accepted_after_a_dead_end(self) -> None:
        self.clean(self.asked, self.two(10.0, 50.0))

    def test_times_of_the_database_may_be_out_of_order_by_the_slack(self) -> None:
        self.clean(self.asked, self.two(10.0, 9.0))

    def test_rows_without_a_hash_are_never_equal(self) -> None:
        self.clean(self.asked, [job(accepted=0.0), job(id_="b", accepted=0.0)])


class DeadLetters(Case):
    def test_attempts_used_up(self) -> None:
        self.clean([ACCEPTED], [job("FAILED", attempt=3, max_attempts=3), letter("attempts_exhausted")])

    def test_attempts_left(self) -> None:
        rows = [job("FAILED", attempt=2, max_attempts=3), letter("attempts_exhausted")]
        self.assertEqual(self.defects([ACCEPTED], rows), ["dead letter"])

    def test_a_named_reason_needs_no_used_up_attempts(self) -> None:
        self.clean([ACCEPTED], [job("FAILED", attempt=1, max_attempts=3), letter("poison")])

    def test_a_letter_of_what_did_not_fail(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job(), letter()]), ["dead letter"])

    def test_a_letter_without_a_row_or_a_reason(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job(), letter(id_="b")]), ["dead letter"])
        self.assertEqual(self.defects([ACCEPTED], [job("FAILED"), letter("")]), ["dead letter"])

    def test_a_letter_of_a_stream_entry_has_no_job(self) -> None:
        self.clean([ACCEPTED], [job(), {"row": "dead_letter", "reason": "bridge_malformed"}])

    def test_two_letters_of_one_job(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job("FAILED"), letter(), letter()]), ["dead letter"])

    def test_failed_without_a_letter(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job("FAILED")]), ["dead letter"])

    def test_a_letter_that_contradicts_the_timeline(self) -> None:
        life = steps("QUEUED", "RUNNING", "FAILED")
        life[-1]["reason"] = "poison"
        self.assertEqual(self.defects([ACCEPTED], [job("FAILED"), letter(), *life]), ["dead letter"])


class Replays(Case):
    def again(self, **members: object) -> Object:
        return job("SUCCEEDED", "b", **{"replay_of": "a", "hash": "h", **members})

    def rows(self, *more: Object, **of_letter: str) -> list[Object]:
        return [job("FAILED", hash="h", accepted=0.0, ended=1.0), letter(**of_letter), *more]

    def test_a_chain_that_holds(self) -> None:
        self.clean([ACCEPTED], self.rows(self.again(accepted=10.0), replayed_as="b"))

    def test_a_letter_that_leads_nowhere(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], self.rows(replayed_as="nobody")), ["replay link"])

    def test_a_letter_may_be_answered_by_an_equal_request(self) -> None:
        asked = [ACCEPTED, event("ok", "accept", 0.0, job="b")]
        equal = job("SUCCEEDED", "b", hash="h", accepted=10.0)
        self.clean(asked, self.rows(equal, replayed_as="b"))
        self.assertEqual(self.defects(asked, self.rows({**equal, "hash": "k"}, replayed_as="b")), ["replay link"])

    def test_a_replay_of_nobody_and_of_the_living(self) -> None:
        self.assertIn("replay link", self.defects([ACCEPTED], self.rows(self.again(accepted=10.0, replay_of="x"))))
        living = [job("SUCCEEDED"), self.again(hash=None)]
        self.assertEqual(self.defects([ACCEPTED], living), ["replay link"])


class Schedules(Case):
    def tick(self, tick: int, id_: str) -> Object:
        return job("SUCCEEDED", id_, schedule="s", tick=tick)

    due = {"row": "schedule", "name": "s", "due": [60, 120]}

    def test_each_tick_once(self) -> None:
        self.clean([ACCEPTED], [job(), self.due, self.tick(60, "b"), self.tick(120, "c")])

    def test_twice(self) -> None:
        rows = [job(), self.due, self.tick(60, "b"), self.tick(60, "d"), self.tick(120, "c")]
        self.assertEqual(self.defects([ACCEPTED], rows), ["schedule"])

    def test_not_at_all(self) -> None:
        self.assertEqual(self.defects([ACCEPTED], [job(), self.due, self.tick(60, "b")]), ["schedule"])

    def test_when_it_was_not_due(self) -> None:
        rows = [job(), self.due, self.tick(60, "b"), self.tick(120, "c"), self.tick(90, "d")]
        self.assertEqual(self.defects([ACCEPTED], rows), ["schedule"])


class Inputs(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name: str, *objects: Object, tail: str = "") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(one) + "\n" for one in objects) + tail)
        return path

    def test_what_a_killed_process_left_is_dropped(self) -> None:
        path = self.write("h.jsonl", ACCEPTED, tail='{"type": "ok", "op": "fin')
        self.assertEqual([line.value for line in read(path)], [ACCEPTED])

    def test_a_broken_line_is_named(self) -> None:
        path = self.write("h.jsonl", ACCEPTED, tail="{\n")
        with self.assertRaisesRegex(InputInvalid, r"h\.jsonl:2: is no JSON"):
            list(read(path))

    def test_a_line_that_is_no_event_is_named(self) -> None:
        for wrong in ({"type": "timeout", "op": "accept", "mono": 1}, {"type": "ok", "op": "accept"}):
            with self.assertRaisesRegex(InputInvalid, "h:1"):
                events([Line(wrong, "h:1")])

    def test_a_line_that_is_no_row_is_named(self) -> None:
        for wrong in ({"row": "job"}, {"row": "table"}, {}):
            with self.assertRaisesRegex(InputInvalid, "d:1"):
                database([Line(wrong, "d:1")])

    def test_files_are_merged_by_the_chosen_clock(self) -> None:
        one = event("ok", "claim", 2.0, "w1", job="a", token=1) | {"wall": 5.0}
        other = event("ok", "claim", 1.0, "w2", job="a", token=1) | {"wall": 6.0}
        for clock, order in (("mono", ["w2", "w1"]), ("wall", ["w1", "w2"])):
            merged = events([Line(one, "1"), Line(other, "2")], clock=clock)
            self.assertEqual([event.actor for event in merged], order)

    def test_nothing_to_judge_is_no_verdict(self) -> None:
        rows = self.write("rows.jsonl", job())
        (self.folder / "empty").mkdir()
        with self.assertRaisesRegex(InputInvalid, "holds no"):
            judge([self.folder / "empty"], [rows])
        with self.assertRaisesRegex(InputInvalid, "holds no event"):
            judge([self.write("h.jsonl")], [rows])

    def told(self, *argv: str) -> tuple[int, str]:
        with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(output):
            return command_line.main(argv), output.getvalue()

    def test_the_command_line_ends_with_the_verdict(self) -> None:
        history, rows = self.write("history/h.jsonl", ACCEPTED), self.write("rows.jsonl", job())
        status, said = self.told("--history", str(history.parent), "--database", str(rows))
        self.assertEqual(status, 0)
        self.assertTrue(said.endswith("verdict: held\n"))

    def test_a_defect_is_its_exit_status_and_can_be_skipped(self) -> None:
        history, rows = self.write("h.jsonl", ACCEPTED), self.write("rows.jsonl", job("RUNNING"))
        given = ("--history", str(history), "--database", str(rows))
        self.assertEqual(self.told(*given)[0], 1)
        self.assertEqual(self.told(*given, "--skip", "lost")[0], 0)

    def test_a_missing_file_is_a_wrong_command_line(self) -> None:
        status, said = self.told(
            "--history", str(self.folder / "no.jsonl"), "--database", str(self.folder / "no.jsonl")
        )
        self.assertEqual(status, 2)
        self.assertIn("error: ", said)


class Telling(unittest.TestCase):
    def said(self, happened: list[Object], rows: list[Object]) -> str:
        evidence = laid(happened, rows)
        return "\n".join(lines(evidence, summed_up(evidence, judged(evidence))))

    def test_the_smallest_story_is_told_in_the_order_of_time(self) -> None:
        long = [event("ok", "accept", 0.0, job="b"), *(event("ok", "dispatch", at, job="b") for at in (1.0, 2.0, 3.0))]
        short = [event("ok", "claim", 4.0, job="a", token=1), event("ok", "accept", 1.5, "web", job="a")]
        fault = event("ok", "fault", 2.0, "nemesis", fault="kill", target="redis-1")
        said = self.said([*long, *short, fault], [job("RUNNING"), job("QUEUED", "b")])
        self.assertIn("lost: 2 (b, a)", said)
        self.assertIn("  a never ended: its row is RUNNING", said)
        told = [line.split() for line in said.splitlines() if " s  " in line]
        order = [("+0.000", "accept"), ("+0.500", "FAULT"), ("+2.500", "claim")]
        self.assertEqual([(line[0], line[3]) for line in told], order)
        self.assertIn("fault=kill target=redis-1", said)
        self.assertIn("row state=RUNNING", said)

    def test_a_long_story_leaves_its_middle_out(self) -> None:
        hints = [event("ok", "dispatch", float(at), job="a") for at in range(100)]
        said = self.said([event("ok", "accept", 0.0, job="a"), *hints], [job("RUNNING")])
        self.assertIn("… 61 more …", said)

    def test_figures(self) -> None:
        happened = [
            event("info", "accept", 0.0, request="r", reason="timeout"),
            *did("claim", 1.0, 1.1, token=1),
            *did("claim", 2.0, 2.1, "w2", token=2),
            *did("finish", 2.2, 2.3, token=1, told="fail", reason="stale"),
            event("invoke", "claim", 3.0, "w3", job="a", call=9),
        ]
        evidence = laid(happened, [job(request="r")])
        report = summed_up(evidence, judged(evidence))
        self.assertEqual((report.jobs, report.accepted, report.ended, report.recovered), (1, 0, 1, 1))
        self.assertEqual((report.executions, report.extra_executions, report.unknown), (2, 1, 2))
        self.assertEqual(report.seen["finish fail stale"], 1)


class Alone(unittest.TestCase):
    def test_the_package_needs_nothing_but_itself_and_the_standard_library(self) -> None:
        for path in sorted(Path(command_line.__file__).parent.glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                for module in self.imported(node):
                    is_own = module.split(".")[:2] == ["scripts", "checker"]
                    self.assertTrue(is_own or module.split(".")[0] in sys.stdlib_module_names, f"{path}: {module}")

    @staticmethod
    def imported(node: ast.AST) -> list[str]:
        if isinstance(node, ast.ImportFrom):
            return [node.module or ""]
        return [one.name for one in node.names] if isinstance(node, ast.Import) else []


class MadeUp(unittest.TestCase):
    """Runs of some hundred jobs with everything in them. The seed is printed; HOLDFAST_SEED repeats it."""

    @classmethod
    def setUpClass(cls) -> None:
        print(f"HOLDFAST_SEED={SEED}")  # noqa: T201

    def judged(self, folder: Path, seed: int, defect: str | None) -> tuple[list[Finding], str]:
        sample = whole(jobs=400, seed=seed)
        about = defects.plant(sample, defect) if defect else ""
        sample.write(folder)
        return list(judge([folder / "history"], [folder / "rows.jsonl"])[1].findings), about

    def test_a_whole_run_is_clean(self) -> None:
        for seed in range(SEED, SEED + 5):
            with self.subTest(seed=seed), tempfile.TemporaryDirectory() as folder:
                self.assertEqual(self.judged(Path(folder), seed, None), ([], ""))

    def test_each_planted_defect_is_found_and_called_by_its_name(self) -> None:
        for name, defect in defects.DEFECTS.items():
            with self.subTest(seed=SEED, defect=name), tempfile.TemporaryDirectory() as folder:
                found, about = self.judged(Path(folder), SEED, name)
                self.assertTrue(found, "the checker did not see it")
                self.assertLessEqual(defect.found_as, {finding.defect for finding in found})
                self.assertEqual({finding.about for finding in found if finding.defect in defect.found_as}, {about})

    def test_the_generator_prints_its_seed(self) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as output:
            make_up.main(["--into", folder, "--jobs", "20", "--seed", "7"])
            self.assertTrue((Path(folder) / "rows.jsonl").stat().st_size)
        self.assertIn("seed 7: ", output.getvalue())


if __name__ == "__main__":
    unittest.main()
