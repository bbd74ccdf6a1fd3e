"""What this process did, one line per event, for a checker that knows nothing of it (`scripts/checker` says the form).

Off, `recorder` is None and nothing else is asked: whoever records looks at that attribute and goes on. On, each process
appends to a file of its own. Knows no job, no database and no Django.
"""

from pathlib import Path

from history.recorder import Call, HistoryNotWritable, Recorder

__all__ = ["Call", "HistoryNotWritable", "Recorder", "recorder", "start", "stop"]

#: None = off. Read it as `history.recorder`: a name imported from here would keep what it was at the import.
recorder: Recorder | None = None


def start(folder: Path) -> None:
    """Records from now on, in this process and its forks. Raises HistoryNotWritable."""
    global recorder
    recorder = Recorder(folder)


def stop() -> None:
    """Records no more."""
    global recorder
    if recorder is not None:
        recorder.close()
    recorder = None
