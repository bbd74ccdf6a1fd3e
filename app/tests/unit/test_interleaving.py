"""What an interleaving that failed says first: the broken promise, in the checker's own words, or that it is void."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.interleaving.run import RunVoid, broken_promises, refuse_void

REPOSITORY = Path(os.environ.get("HOLDFAST_REPOSITORY", Path(__file__).resolve().parents[3]))


def checker(module: str, *words: str | Path) -> str:
    command = (sys.executable, "-m", f"scripts.checker{module}", *map(str, words))
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.parametrize(
    ("planted", "sentence"),
    [
        ("never-ended", "lost: never ended: its row is RUNNING"),
        ("effect-twice", "duplicated effect: effect "),
        ("stale-finish", "lease token: a stale finish was accepted: token "),
    ],
)
def test_each_defect_is_a_sentence(planted: str, sentence: str, tmp_path: Path) -> None:
    checker(".make_up", "--into", tmp_path, "--jobs", "200", "--seed", "1", "--defect", planted)
    said = checker("", "--history", tmp_path / "history", "--database", tmp_path / "rows.jsonl")
    assert any(one.startswith(sentence) for one in broken_promises(said)), said


def test_what_held_has_no_sentence(tmp_path: Path) -> None:
    checker(".make_up", "--into", tmp_path, "--jobs", "200", "--seed", "1")
    said = checker("", "--history", tmp_path / "history", "--database", tmp_path / "rows.jsonl")
    assert "verdict: held" in said
    assert broken_promises(said) == []


def test_runs_in_which_something_never_came_about_are_void() -> None:
    """Which is no assertion: `make mutants` takes none for a promise that broke."""
    refuse_void(Counter({"rescued": 1}), ["rescued"])
    with pytest.raises(RunVoid, match="never seen: flushed, overtaken") as found:
        refuse_void(Counter({"rescued": 1}), ["rescued", "flushed", "overtaken"])
    assert not isinstance(found.value, AssertionError)
