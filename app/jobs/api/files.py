"""The files that a finished job names."""

from typing import Annotated, Any, Final

from django.core.files.storage import default_storage
from django.http import FileResponse, HttpRequest
from ninja import Path, Router

from jobs import selectors
from jobs.api.auth import authenticated, principal
from jobs.api.jobs import JobId, uuid_or_404
from jobs.api.problems import Problem, problems

router = Router(tags=["jobs"])

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_CONTENT: Final[dict[str, Any]] = {
    "responses": {
        200: {
            "description": "The file, under the media type that the job's `files` gives.",
            "content": {"application/json": {"schema": {}}, "image/*": _BINARY, "*/*": _BINARY},
        }
    }
}

FileName = Annotated[str, Path(description="As in the job's `files`.")]


@router.get(
    "/{job_id}/files/{name}",
    auth=authenticated("read"),
    operation_id="get_job_file",
    summary="One output file of a job",
    response={200: None, **problems(404, 422)},
    openapi_extra=_CONTENT,
)
def get_job_file(request: HttpRequest, job_id: JobId, name: FileName) -> FileResponse:
    """Streamed. Only files that the fenced finish named are found."""
    caller = principal(request)
    job = selectors.get_job(uuid_or_404(job_id), owner=caller.owner, see_all=caller.sees_all)
    entry = next((file for file in job.files if file["name"] == name), None)
    try:
        # Opened without asking first: retention may delete it in between.
        stored = default_storage.open(entry["key"]) if entry else None
    except FileNotFoundError:
        stored = None
    if entry is None or stored is None:
        raise Problem(404, detail="This job has no file of that name; its `files` lists what it has.")
    # FileResponse closes the stored file after its last byte.
    return FileResponse(stored, content_type=entry["media_type"], filename=name)
