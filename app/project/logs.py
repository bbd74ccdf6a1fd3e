"""Logs: one line per event, JSON in containers, readable on a terminal; ours, Django's, Celery's and gunicorn's alike.

An event is a sentence; what varies are fields. Fields bound with `structlog.contextvars.bound_contextvars` (job_id,
attempt, kind, request_id) stand on every line written inside that `with`, libraries' lines included. Local variables
are never written: they hold passwords.
"""

import logging
import logging.config
import sys
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

#: Loggers that repeat what we log ourselves, or speak on each message. Warnings and errors still come through.
QUIET_LOGGERS: Final = (
    "botocore",
    "celery.app.trace",  # "Task … succeeded" for every job: the job's own event says more
    "celery.worker.strategy",  # "Task … received" likewise
    "django.server",
    "httpcore",
    "httpx",
    "psycopg.pool",
    "rasterio",
)

_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    structlog.processors.StackInfoRenderer(),
)


def configure(*, level: str = "INFO", log_format: str = "json") -> None:
    """Sends structlog and the standard library through one handler on standard error.

    `level` is a logging level name; `log_format` is `json` or `console`. On a terminal it is always the console.
    Calling it again replaces the first configuration.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(dict_config(level=level, log_format=log_format))


def dict_config(*, level: str = "INFO", log_format: str = "json") -> dict[str, Any]:
    """The same as a logging dictConfig, for gunicorn's `logconfig_dict`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": _formatter, "log_format": log_format}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            **{name: {"level": "WARNING"} for name in QUIET_LOGGERS},
            # Repeats every 4xx that the client was told; 5xx stay.
            "django.request": {"level": "ERROR"},
            # gunicorn gives these handlers of their own; the root's is enough.
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
        },
    }


def _formatter(log_format: str) -> logging.Formatter:
    render = _CONSOLE if log_format == "console" or sys.stderr.isatty() else _JSON
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )


def _lead_with_the_sentence(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Orders the fields for a reader: when, how bad, what, then the rest."""
    first = {name: event.pop(name) for name in ("time", "level", "event") if name in event}
    return {**first, **event}


_CONSOLE: Final[tuple[Processor, ...]] = (
    structlog.dev.ConsoleRenderer(timestamp_key="time", exception_formatter=structlog.dev.plain_traceback),
)
_JSON: Final[tuple[Processor, ...]] = (
    structlog.processors.format_exc_info,
    _lead_with_the_sentence,
    structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
)
