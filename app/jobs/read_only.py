"""While a handler runs, Postgres refuses the writes of its process's connections, of every alias and thread.

A write outside the fenced finish would be committed by every attempt, also by one whose lease is lost. Handlers read
as they like and return their writes as effects.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import DatabaseError, connections

from jobs.errors import WriteRefused
from postgres_deadline import read_only


@contextmanager
def refusing_writes() -> Iterator[None]:
    """Gives the calling thread connections of its own on which Postgres refuses writes.

    Raises WriteRefused in the place of such a refusal.
    """
    try:
        with read_only.sessions(), _other_connections():
            yield
    except DatabaseError as error:
        if isinstance(error.__cause__, psycopg.errors.ReadOnlySqlTransaction):
            raise WriteRefused(
                f"a handler wrote to the database ({error}): return the write as an effect, Done(effects=[…])"
            ) from error
        raise


@contextmanager
def ledger_writes() -> Iterator[None]:
    """Gives `jobs.effects` a connection on which it commits an intent while a handler runs; nobody else."""
    with read_only.lifted(), _other_connections():
        yield


@contextmanager
def _other_connections() -> Iterator[None]:
    """Sets the thread's connections aside as they are, and afterwards gives back to the pool what was opened since."""
    aside = list(connections.all(initialized_only=True))
    for wrapper in aside:
        del connections[wrapper.alias]  # another one is made on its first use
    try:
        yield
    finally:
        connections.close_all()
        for wrapper in aside:
            connections[wrapper.alias] = wrapper
