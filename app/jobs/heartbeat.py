"""Renewing leases: one UPDATE for everything an instance runs."""

from collections.abc import Collection
from uuid import UUID

from django.db import connection

from jobs import sql


def renew(leased_by: str, job_ids: Collection[UUID]) -> set[UUID]:
    """Moves the leases of these jobs on by their pool's lease. Returns those that this instance still holds.

    Stop the attempt of an id that does not come back: the job was cancelled, finished or taken over. Asks Postgres also
    when there is no id.
    """
    with connection.cursor() as cursor:
        cursor.execute(sql.RENEW, {"ids": list(job_ids), "leased_by": leased_by})
        return {row[0] for row in cursor.fetchall()}
