"""The watch over progress: what it counts, and what makes it count again from the start."""

import pytest

from dispatch import POOLS
from worker import activity, progress


class Scene:
    """A watch over conditions that the test sets; at first all of them say that the worker is wedged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.could_consume = self.waits = self.answers = True
        self.left: list[bool] = []
        monkeypatch.setattr(progress.ProgressWatch, "_something_waits", lambda _: self.waits)
        monkeypatch.setattr(progress.ProgressWatch, "_postgres_answers", lambda _: self.answers)
        self.watch = progress.ProgressWatch(
            instance="here",
            pool=POOLS["fast"],
            could_consume=lambda: self.could_consume,
            on_stalled=lambda: self.left.append(True),
        )

    def look(self, times: int) -> None:
        for _ in range(times):
            self.watch.look()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_leaves_once_after_five_looks_in_a_row(scene: Scene) -> None:
    scene.look(progress.MOST_LOOKS - 1)
    assert scene.left == []
    scene.look(3)
    assert scene.left == [True]


@pytest.mark.parametrize("condition", ["could_consume", "waits", "answers"])
def test_one_look_with_a_reason_to_stay_starts_the_count_anew(scene: Scene, condition: str) -> None:
    scene.look(progress.MOST_LOOKS - 1)
    setattr(scene, condition, False)
    scene.look(1)
    setattr(scene, condition, True)
    scene.look(progress.MOST_LOOKS - 1)
    assert scene.left == []
    scene.look(1)
    assert scene.left == [True]


def test_so_does_one_message_that_was_popped(scene: Scene) -> None:
    scene.look(progress.MOST_LOOKS - 1)
    activity.count_pop()
    scene.look(progress.MOST_LOOKS)
    assert scene.left == []
    scene.look(1)
    assert scene.left == [True]


def test_what_waits_for_its_process_holds_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    running, waiting = object(), object()
    monkeypatch.setattr(activity.state, "active_requests", {running})
    monkeypatch.setattr(activity.state, "reserved_requests", {running, waiting})
    assert not activity.has_free_slot(2)
    assert activity.has_free_slot(3)
