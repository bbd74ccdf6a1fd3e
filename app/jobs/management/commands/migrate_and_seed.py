"""`manage.py migrate_and_seed`: the one-shot before every other service starts.

Waits for Postgres, migrates under an advisory lock (two of these at once are safe) and stores the first API key.
Running it again changes nothing.
"""

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

import postgres_deadline
from jobs import keys

#: Any number that no other advisory lock of this database uses ("hold" in ASCII).
_LOCK: Final = 0x686F6C64
_POLL_SECONDS: Final = 0.5


class Command(BaseCommand):
    help = "Waits for Postgres, migrates under an advisory lock, stores the first API key. Safe to repeat."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for Postgres and for the lock")

    def handle(self, *args: object, **options: Any) -> None:  # noqa: ANN401 - argparse
        ends_at = time.monotonic() + options["wait"]
        self._await_postgres(ends_at)
        with postgres_deadline.unbounded(), _lock(ends_at):
            call_command("migrate", interactive=False, verbosity=options["verbosity"])
            self._seed()

    def _await_postgres(self, ends_at: float) -> None:
        while (error := _refusal()) is not None:
            if error.sqlstate or time.monotonic() > ends_at:  # an answer with SQLSTATE is final: it will not improve
                raise CommandError(_no_postgres(error)) from None
            time.sleep(_POLL_SECONDS)

    def _seed(self) -> None:
        first = settings.HOLDFAST.holdfast_api_key
        if first is None:
            self.stdout.write("HOLDFAST_API_KEY is not set: create keys with `python manage.py create_api_key`")
            return
        try:
            stored_now = keys.ensure_first(first.get_secret_value())
        except keys.KeyInvalid as error:
            raise CommandError(str(error)) from None
        self.stdout.write("stored the first API key" if stored_now else "the first API key is stored already")


def _refusal() -> psycopg.OperationalError | None:
    """Why Postgres cannot be used yet. Past the pool, which keeps libpq's reason to itself."""
    try:
        psycopg.connect(**connection.get_connection_params()).close()
    except psycopg.errors.CannotConnectNow as error:  # it starts up
        return psycopg.OperationalError(str(error))
    except psycopg.OperationalError as error:
        return error
    return None


@contextmanager
def _lock(ends_at: float) -> Iterator[None]:
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
            if cursor.fetchone() == (True,):
                break
            if time.monotonic() > ends_at:
                raise CommandError("another migration holds the lock: wait for it, or look at `docker compose ps`")
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _no_postgres(error: psycopg.OperationalError) -> str:
    database = connection.settings_dict
    return (
        f"Postgres at {database['HOST']}:{database['PORT']} did not take user {database['USER']!r} "
        f"to database {database['NAME']!r}: {str(error).strip()}. Look at `docker compose logs postgres`; "
        f"a password changed in .env does not change the one in an existing volume."
    )
