"""A bare django-ninja view that does the same two INSERTs as an accept, in one transaction, and nothing else.

No key, no validation beyond the shape, no hash, no duplicate found, no Idempotency-Key, no hint.
"""

import json
from typing import Any
from uuid import uuid4

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from ninja import NinjaAPI, Schema, Status

_JOB = """
    INSERT INTO job (id, owner, identity, request_hash, hash_version, kind, pool, farm_id, params, priority, root_id,
                     state, max_attempts, next_dispatch_at, grace_seconds, files)
    VALUES (%s, 'bench', 'req:' || %s, '', 1, %s, 'fast', %s, %s::jsonb, 3, %s, 'QUEUED', 5, clock_timestamp(), 5, '[]')
"""
_EVENT = """
    INSERT INTO job_event (job_id, at, event, actor, from_state, to_state, attempt, lease_token, dispatch_gen, reason)
    VALUES (%s, clock_timestamp(), 'accepted', 'bench', '', 'QUEUED', 0, 0, 0, '')
"""


class JobIn(Schema):
    kind: str
    params: dict[str, Any]
    farm_id: str = ""


class Accepted(Schema):
    id: str
    status: str


api = NinjaAPI(docs_url=None, openapi_url=None)


@api.post("/v1/jobs", response={202: Accepted})
def submit(request: HttpRequest, payload: JobIn) -> Status[Accepted]:
    """The row and its first event."""
    job_id = uuid4()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_JOB, (job_id, str(job_id), payload.kind, payload.farm_id, json.dumps(payload.params), job_id))
        cursor.execute(_EVENT, (job_id,))
    return Status(202, Accepted(id=str(job_id), status="QUEUED"))


urlpatterns = [path("api/", api.urls), path("livez", lambda _request: HttpResponse())]
