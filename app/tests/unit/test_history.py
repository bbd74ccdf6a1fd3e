"""The recorder: one file per process, whole lines, and nothing at all while it is off."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import history
from history import HistoryNotWritable, Recorder

APP = Path(history.__file__).resolve().parents[1]


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path)
    yield made
    made.close()


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def told(folder: Path) -> list[tuple[object, ...]]:
    return [(event["type"], event["op"], event.get("job"), event.get("reason")) for event in events(folder)]


def test_off_there_is_no_recorder_and_on_it_is_one_until_it_is_stopped(tmp_path: Path) -> None:
    assert history.recorder is None
    history.start(tmp_path)
    try:
        assert history.recorder is not None
        history.recorder.note("ok", "claim", [{"job": "a"}])
    finally:
        history.stop()
    assert history.recorder is None
    assert told(tmp_path) == [("ok", "claim", "a", None)]


def test_an_event_says_who_and_when(recorder: Recorder, tmp_path: Path) -> None:
    recorder.note("ok", "claim", [{"job": "a", "token": 3}])
    (event,) = events(tmp_path)
    assert event["actor"] == recorder.actor
    assert event["token"] == 3
    assert isinstance(event["mono"], float)
    assert event["wall"] > 1_700_000_000
    assert [path.stem for path in tmp_path.iterdir()] == [recorder.actor]


def test_no_event_makes_no_file(recorder: Recorder, tmp_path: Path) -> None:
    recorder.note("ok", "claim", [])
    assert list(tmp_path.iterdir()) == []


def test_each_job_of_a_call_has_an_end_of_its_own(recorder: Recorder, tmp_path: Path) -> None:
    with recorder.call("finish", [{"job": "a", "token": 1}, {"job": "b", "token": 2}, {"job": "c"}]) as call:
        call.ok("a", state="SUCCEEDED")
        call.fail("b", reason="stale")
    assert told(tmp_path)[3:] == [
        ("ok", "finish", "a", None),
        ("fail", "finish", "b", "stale"),
        ("info", "finish", "c", None),
    ]
    assert {event["call"] for event in events(tmp_path)} == {1}
    assert [event.get("token") for event in events(tmp_path)][3:5] == [1, 2], "an end repeats what its invoke said"


def test_a_call_that_raises_may_have_taken_place(recorder: Recorder, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError), recorder.call("claim", [{"job": "a"}]):
        raise TimeoutError
    assert told(tmp_path) == [("invoke", "claim", "a", None), ("info", "claim", "a", "TimeoutError")]


def test_calls_are_numbered(recorder: Recorder, tmp_path: Path) -> None:
    for job in ("a", "b"):
        with recorder.call("claim", [{"job": job}]) as call:
            call.ok(job)
    assert [event["call"] for event in events(tmp_path)] == [1, 1, 2, 2]


def test_threads_write_whole_lines(recorder: Recorder, tmp_path: Path) -> None:
    def write(name: int) -> None:
        for number in range(200):
            recorder.note("ok", "claim", [{"job": f"{name}-{number}", "filler": "x" * 300}] * 2)

    threads = [Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert len(events(tmp_path)) == 8 * 200 * 2


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-c", "import os, signal, sys; from pathlib import Path; import history\n" + script)
    return subprocess.run((*command, str(folder)), cwd=APP, capture_output=True, text=True, timeout=200, check=False)


def test_what_was_written_outlives_a_kill(tmp_path: Path) -> None:
    done = run(
        "history.start(Path(sys.argv[1]))\n"
        "for number in range(50): history.recorder.note('ok', 'claim', [{'job': number}])\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        tmp_path,
    )
    assert done.returncode == -9, done.stderr
    assert [event["job"] for event in events(tmp_path)] == list(range(50))


def test_a_fork_writes_to_a_file_of_its_own(tmp_path: Path) -> None:
    done = run(
        "history.start(Path(sys.argv[1]))\n"
        "history.recorder.note('ok', 'claim', [{'job': 'parent'}])\n"
        "pid = os.fork()\n"
        "with history.recorder.call('finish', [{'job': 'parent' if pid else 'child'}]): pass\n"
        "pid and os.waitpid(pid, 0)",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 2
    actors = {(event["job"], event["actor"]) for event in events(tmp_path)}
    assert len({actor for _, actor in actors}) == len(actors) == 2
    assert {event["call"] for event in events(tmp_path) if "call" in event} == {1}, "a fork counts anew"


def test_a_folder_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryNotWritable, match="HOLDFAST_HISTORY=0"):
        Recorder(tmp_path / "file" / "folder")


def test_a_write_that_fails_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    recorder.note("ok", "claim", [{"job": "a"}])
    assert "an event was not recorded" in caplog.text


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["manage.py", "run_bridge"], "bridge-"),
        (["/opt/venv/bin/celery", "--app=project", "worker", "--queues=cpu", "--pool=prefork"], "worker-cpu-"),
        (["/opt/venv/bin/gunicorn", "-c", "project/gunicorn.py", "project.wsgi"], "gunicorn-"),
        (["manage.py", "migrate"], "manage-"),
        ([""], "python-"),
    ],
)
def test_an_actor_is_named_for_what_it_does(
    argv: list[str], role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert Recorder(tmp_path).actor.startswith(role)
