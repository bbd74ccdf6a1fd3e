"""Scenes in, over HTTP. Mounted under /api/v1; what a job made is read through the job."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from jobs.api.auth import authenticated, principal
from jobs.api.jobs import uuid_or_404
from jobs.api.problems import Problem, invalid, problems
from ndvi.inspection import SceneInvalidError
from ndvi.models import Scene
from ndvi.uploads import accept_scene, file_name

router = Router(tags=["ndvi"])

_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "description": "A GeoTIFF."}},
                }
            }
        },
    }
}


class SceneOut(Schema):
    id: UUID
    name: str
    bytes: int
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    bands: int
    dtype: str = Field(description="Type of the pixels.")
    crs: str = Field(description="EPSG code or WKT; empty when the file has none.")
    source: dict[str, Any] = Field(description="Where a job fetched the scene from; empty for uploads.")
    created_at: datetime


@router.post(
    "/scenes",
    auth=authenticated("submit"),
    operation_id="upload_scene",
    summary="Upload a GeoTIFF",
    response={201: SceneOut, **problems(413, 415, 422)},
    openapi_extra=_FORM,
)
def upload_scene(request: HttpRequest) -> Status[Scene]:
    """Multipart, field `file`: a whole GeoTIFF with at least two bands. Its id is what `ndvi.compute` takes."""
    if request.content_type != "multipart/form-data":
        raise Problem(
            415, detail=f"Send a multipart/form-data form with the field 'file', not '{request.content_type}'."
        )
    upload = _uploaded(request)
    try:
        path = Path(upload.temporary_file_path())
        scene = accept_scene(owner=principal(request).owner, name=file_name(upload.name), path=path)
    except SceneInvalidError as error:
        raise invalid([{"field": "file", "message": str(error)}]) from error
    finally:
        upload.close()
    return Status(201, scene)


def _uploaded(request: HttpRequest) -> TemporaryUploadedFile:
    """The form's file, streamed to scratch: none of it, however small, is kept in memory."""
    request.upload_handlers = [TemporaryFileUploadHandler(request)]
    upload = request.FILES.get("file")
    if not isinstance(upload, TemporaryUploadedFile):
        raise invalid([{"field": "file", "message": "Missing: send the GeoTIFF as a file in the form field 'file'."}])
    return upload


@router.get(
    "/scenes/{scene_id}",
    auth=authenticated("read"),
    operation_id="get_scene",
    summary="One scene",
    response={200: SceneOut, **problems(404, 422)},
)
def get_scene(request: HttpRequest, scene_id: str) -> Scene:
    """Another owner's scene is 404."""
    caller = principal(request)
    scene = Scene.objects.filter(id=uuid_or_404(scene_id)).first()
    if scene is None or not (caller.sees_all or scene.owner == caller.owner):
        raise Problem(404, detail="There is nothing of this id for this key's owner.")
    return scene
