"""The mutants of the proof: each still finds its target, nothing of the application knows of them, none is excused."""

import ast
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_timeout import PYTEST_FAILURE_MESSAGE

from tests.integration.interleaving.run import RunVoid
from tests.mutants import __main__ as command
from tests.mutants import trial
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Edit, Mutant, TargetMoved
from tests.mutants.trial import Finding, Trial
from tests.mutants.verdict import ALIVE, Verdict, shown
from tests.servers.waiting import DidNotHappen

APP = Path(__file__).resolve().parents[2]
REPOSITORY = Path(os.environ.get("HOLDFAST_REPOSITORY", APP.parent))
DOCKERFILE = REPOSITORY / "services" / "app" / "Dockerfile"

SAMPLE = Mutant("sample", "it does nothing", "nothing", [Edit("a.py", "a = 1", "a = 2")], ["tests/x.py::test_x"])
SEEN = Finding("tests/x.py::test_x", "lost")


def tried(*, passed: Sequence[str] = (ALIVE,), findings: Sequence[Finding] = (), broken: Sequence[str] = ()) -> Trial:
    return Trial(frozenset(passed), findings, broken)


# -- the catalogue ----------------------------------------------------------------------------------------------------
def test_names_are_given_once() -> None:
    names = [one.name for one in MUTANTS]
    assert len(names) == len(set(names)) >= 14


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_finds_its_target_and_is_python(mutant: Mutant) -> None:
    texts = {edit.path: (APP / edit.path).read_text() for edit in mutant.edits}
    before = dict(texts)
    for edit in mutant.edits:
        texts[edit.path] = edit.rewritten(texts[edit.path])
    for path, text in texts.items():
        assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(before[path])), f"{path} means what it meant"
        assert not path.startswith("tests/"), "a mutant of a test proves nothing"


@pytest.mark.parametrize("check", sorted({check for one in MUTANTS for check in (ALIVE, *one.checks)}))
def test_each_check_is_there(check: str) -> None:
    path, _, test = check.partition("::")
    text = (APP / path).read_text()
    assert not test or re.search(rf"^def {re.escape(test.partition('[')[0])}\(", text, re.MULTILINE)


def test_every_mutant_has_a_check() -> None:
    assert [one.name for one in MUTANTS if not one.checks] == []


def test_a_target_that_moved_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 1\n")
    SAMPLE.plant(tmp_path)
    assert (tmp_path / "a.py").read_text() == "a = 2\n"
    with pytest.raises(TargetMoved, match="holds 0 times"):
        SAMPLE.plant(tmp_path)
    (tmp_path / "a.py").write_text("a = 1\na = 1\n")
    with pytest.raises(TargetMoved, match="holds 2 times"):
        SAMPLE.plant(tmp_path)


# -- nothing of it is in the application ------------------------------------------------------------------------------
def test_the_application_neither_knows_of_mutants_nor_imports_tests() -> None:
    sources = [path for path in APP.rglob("*.py") if path.relative_to(APP).parts[0] != "tests"]
    assert len(sources) > 100
    for path in sources:
        text = path.read_text()
        assert "mutant" not in text.lower(), path
        assert not re.search(r"^\s*(from|import) tests\b", text, re.MULTILINE), path


def test_the_application_image_leaves_tests_behind() -> None:
    """What it runs comes from one stage, which has dropped them."""
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE.read_text(), re.M | re.S))
    assert re.findall(r"^COPY --from=(\w+) /app (\S+)$", stages["runtime"], re.M) == [("code", "/app")]
    assert len(re.findall(r"^COPY ", stages["runtime"], re.M)) == 1
    assert re.search(r"COPY app/ /app/\nRUN rm -rf tests\b", stages["code"])


# -- the verdict ------------------------------------------------------------------------------------------------------
def test_caught_in_each_run_is_caught() -> None:
    verdict = Verdict(SAMPLE, [tried(findings=[SEEN])] * 2)
    assert (verdict.caught, verdict.problem) == (2, "")
    assert [line.split() for line in verdict.lines()][1] == ["2x", "x::test_x:", "lost"]


def test_a_check_that_did_not_see_it_is_named() -> None:
    checks = ["tests/x.py::test_x", "tests/y.py", "tests/z.py::test_z", "tests/z.py::test_z_too"]
    mutant = replace(SAMPLE, checks=checks)
    findings = [Finding("tests/y.py::test_y[1]", "lost"), Finding("tests/z.py::test_z_too[2]", "lost")]
    lines = list(Verdict(mutant, [tried(findings=findings)]).lines())
    assert [line.strip() for line in lines if "0x" in line] == ["0x x::test_x", "0x z::test_z"]


@pytest.mark.parametrize(
    ("trials", "problem"),
    [
        ([tried()], "SURVIVES: no check"),
        ([tried(findings=[SEEN]), tried()], "SURVIVES some"),
        ([tried(broken=["x: SyntaxError"])], "does not run: x: SyntaxError"),
        ([tried(passed=(), findings=[SEEN])], "does not even run a job"),
        ([tried(findings=[Finding(ALIVE, "nothing works")])], "SURVIVES: no check"),
    ],
    ids=["survivor", "sometimes", "no code", "dead", "only dead"],
)
def test_what_proves_nothing_is_no_catch(trials: list[Trial], problem: str) -> None:
    assert problem in Verdict(SAMPLE, trials).problem


def line(outcome: str, when: str = "call", *errors: str, said: str = "") -> dict[str, Any]:
    return {"check": f"x::{outcome}-{when}", "outcome": outcome, "when": when, "error": errors, "said": said}


def test_only_a_check_that_fails_in_its_call_for_a_reason_is_a_finding() -> None:
    found = trial.judged(
        [
            line("passed"),
            line("failed", "call", "PromiseBroken", "AssertionError", said="lost: 1"),
            line("failed", "setup", "AssertionError"),
            line("skipped", "setup", "Skipped"),
            line("failed", "call", "ModuleNotFoundError", "ImportError", said="no module"),
            line("failed", "call", "ZeroDivisionError", "ArithmeticError"),
        ]
    )
    assert found.findings == [Finding("x::failed-call", "lost: 1")]
    assert found.passed == {"x::passed-call"}
    assert len(found.broken) == 4


def raised(error: BaseException) -> dict[str, Any]:
    """As the witness writes it down."""
    return line("failed", "call", *(kind.__name__ for kind in type(error).__mro__), said=str(error))


@pytest.mark.parametrize(
    "error",
    [
        DidNotHappen("the job did not end (waited 60 s; last seen: None)"),
        pytest.fail.Exception(PYTEST_FAILURE_MESSAGE % 400),
        RunVoid("never seen: rescued"),
    ],
    ids=["a wait that ran out", "a hang", "a void run"],
)
def test_what_names_no_promise_is_no_testimony(error: BaseException) -> None:
    found = trial.judged([raised(error)])
    assert found.findings == []
    assert len(found.broken) == 1


def test_what_a_check_says_itself_is_testimony() -> None:
    found = trial.judged([raised(pytest.fail.Exception("DID NOT RAISE StaleLease"))])
    assert [finding.why for finding in found.findings] == ["Failed: DID NOT RAISE StaleLease"]
    assert found.broken == []


def test_rows_that_a_check_left_broken_do_not_unsay_what_it_caught() -> None:
    call = {**line("failed", "call", "AssertionError", said="two of one"), "check": "x::y"}
    end = {**line("failed", "teardown", "AssertionError", said="still two"), "check": "x::y"}
    assert trial.judged([call, end]).broken == []
    assert len(trial.judged([{**call, "outcome": "passed"}, end]).broken) == 1


def test_a_check_is_shown_by_its_last_names() -> None:
    assert shown("tests/integration/test_bridge.py::test_x[1]") == "test_bridge::test_x[1]"
    assert shown("tests/integration/test_interleavings.py::test_any[bridge-alone]") == "interleavings bridge-alone"


# -- the command ------------------------------------------------------------------------------------------------------
def test_a_survivor_and_a_sound_tree_that_fails_are_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: dict[str, Trial] = {}

    def run(app: Path, *_: object, **__: object) -> Trial:
        return answers["sound" if app == APP else "mutant"]

    monkeypatch.setattr(trial, "run", run)
    monkeypatch.setattr(command.shutil, "copytree", lambda _, to: to.mkdir(parents=True))
    monkeypatch.setattr(Mutant, "plant", lambda *_: None)
    for sound, mutant, status, said in (
        (tried(), tried(findings=[SEEN]), 0, "1 of 1 mutants are caught"),
        (tried(), tried(), 1, "holes in the proof: no-fence"),
        (tried(findings=[SEEN]), tried(findings=[SEEN]), 1, "the sound tree fails"),
    ):
        answers |= {"sound": sound, "mutant": mutant}
        assert command.main(["no-fence"]) == status
        assert said in capsys.readouterr().out


def test_an_unknown_mutant_is_answered_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["no-such"])
    assert ended.value.code == 2
    assert "effect-outside-transaction" in capsys.readouterr().err
