"""What the operator sees: one line per step, with its duration; a clock on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_REDRAW_SECONDS = 0.2


def say(text: str) -> None:
    """One line of result on standard output."""
    print(text, flush=True)


def warn(text: str) -> None:
    """One line for the operator on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show that `title` is under way and, at its end, how long it took."""
    started = time.monotonic()
    finished = threading.Event()
    clock = threading.Thread(target=_redraw, args=(title, started, finished), daemon=True)
    interactive = sys.stdout.isatty()
    if interactive:
        clock.start()
    else:
        say(f"{title} ...")
    verdict = "failed"
    try:
        yield
        verdict = "done"
    finally:
        finished.set()
        if interactive:
            clock.join()
        say(f"{_rewind(interactive)}{title}: {verdict} in {time.monotonic() - started:.1f} s")


def _redraw(title: str, started: float, finished: threading.Event) -> None:
    while not finished.wait(_REDRAW_SECONDS):
        print(f"{_rewind(True)}{title} ... {time.monotonic() - started:.0f} s", end="", flush=True)


def _rewind(interactive: bool) -> str:
    return "\r\033[K" if interactive else ""
