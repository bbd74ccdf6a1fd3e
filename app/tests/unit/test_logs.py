"""One line per event in one form, whoever speaks. Each case runs in an interpreter of its own: logging is global."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

APP = Path(__file__).resolve().parents[2]

PREPARE = """
import logging, structlog
from project import logs
logs.configure(level="INFO", log_format="{log_format}")
"""


def run(program: str, *, log_format: str = "json") -> str:
    """What the program writes to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARE.format(log_format=log_format) + program],
        env={**os.environ, "PYTHONPATH": str(APP), "LOG_FORMAT": log_format},
        cwd=APP,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def lines(program: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(program).splitlines()]


def test_bound_fields_stand_on_our_lines_and_on_those_of_libraries() -> None:
    ours, theirs, outside = lines("""
with structlog.contextvars.bound_contextvars(job_id="1", attempt=2, kind="probe.fast"):
    structlog.get_logger("jobs").info("job finished", state="SUCCEEDED")
    logging.getLogger("some.library").warning("slow %s", "read", extra={"seconds": 3})
structlog.get_logger("jobs").info("idle")
""")
    assert {"job_id": "1", "attempt": 2, "kind": "probe.fast", "state": "SUCCEEDED"}.items() <= ours.items()
    assert {
        "job_id": "1",
        "attempt": 2,
        "event": "slow read",
        "seconds": 3,
        "level": "warning",
    }.items() <= theirs.items()
    assert "job_id" not in outside


def test_a_line_begins_with_when_how_bad_and_what() -> None:
    (line,) = lines('structlog.get_logger("a").info("it happened", zebra=1)')
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["time"].endswith("Z")


def test_an_exception_is_one_line_without_local_variables() -> None:
    (line,) = lines("""
def connect():
    password = "s3cret" + "-value"
    raise ConnectionError("no route")
try:
    connect()
except ConnectionError:
    structlog.get_logger("a").exception("could not connect")
""")
    assert "ConnectionError: no route" in line["exception"]
    assert "s3cret-value" not in json.dumps(line)


def test_what_cannot_be_serialised_is_written_as_text() -> None:
    (line,) = lines('import uuid; structlog.get_logger("a").info("seen", id=uuid.UUID(int=7), at={1, })')
    assert line["id"] == "00000000-0000-0000-0000-000000000007"


def test_debug_lines_are_left_out_at_info() -> None:
    assert run('structlog.get_logger("a").debug("x"); logging.getLogger("b").debug("y")') == ""


def test_celery_adds_no_handler_and_no_format_of_its_own() -> None:
    seen = lines("""
from celery import Celery
from celery.utils.log import get_task_logger
import project.celery
project.celery.app.log.setup(loglevel="INFO")
get_task_logger("worker.tasks").info("from a task")
logging.getLogger("celery.worker.consumer").warning("from the consumer")
""")
    assert [line["event"] for line in seen] == ["from a task", "from the consumer"]


def test_celery_is_quiet_about_each_message() -> None:
    assert run('logging.getLogger("celery.app.trace").info("Task … succeeded")') == ""


def test_gunicorn_logs_through_the_same_handler() -> None:
    (line,) = lines("""
from gunicorn.config import Config
from gunicorn.glogging import Logger
config = Config()
config.set("logconfig_dict", logs.dict_config(level="INFO", log_format="json"))
config.set("errorlog", "-")
Logger(config).info("Listening at: %s", "http://0.0.0.0:8000")
""")
    assert line["event"] == "Listening at: http://0.0.0.0:8000"
    assert line["logger"] == "gunicorn.error"


def test_the_console_form_is_for_people() -> None:
    written = run('structlog.get_logger("a").info("it happened", seconds=1)', log_format="console")
    assert "it happened" in written
    assert not written.startswith("{")
