"""Takes a scene in: inspected where it lies, then stored, then recorded; nothing stays behind when a step fails."""

from pathlib import Path

import structlog
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import Error

import postgres_deadline
from jobs.ids import new_id
from ndvi.inspection import SceneHeader, inspect
from ndvi.models import Scene

log = structlog.get_logger(__name__)


def accept_scene(*, owner: str, name: str, path: Path) -> Scene:
    """Stores the file at ``path`` as a scene of ``owner``. Raises SceneInvalidError."""
    scene_id = new_id()
    with postgres_deadline.paused():  # minutes of reading and copying are not Postgres's
        header = inspect(path)
        with path.open("rb") as stream:
            key = default_storage.save(f"scenes/{scene_id}.tif", File(stream))
    try:
        return _record(Scene(id=scene_id, owner=owner, name=name, key=key, bytes=path.stat().st_size), header)
    except Error:
        # An unknown commit leaves the file behind for one that may have been done; only a refusal is certain.
        log.warning("a scene was stored and not recorded", key=key)
        raise


def _record(scene: Scene, header: SceneHeader) -> Scene:
    scene.width, scene.height, scene.bands = header.width, header.height, header.bands
    scene.dtype, scene.crs = header.dtype, header.crs
    scene.save(force_insert=True)
    log.info("scene stored", scene=str(scene.id), bytes=scene.bytes, width=scene.width, height=scene.height)
    return scene


def file_name(given: str | None) -> str:
    """The client's name for the file, for people to read: printable and short."""
    name = "".join(character for character in given or "" if character.isprintable())
    return name[:200] or "scene.tif"
