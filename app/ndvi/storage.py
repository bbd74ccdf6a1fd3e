"""Between files on this machine's disk and Django's storage, which may be elsewhere."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.files import File
from django.core.files.storage import default_storage

from jobs import JobContext, StoredFile

_COPY_BYTES = 1 << 20


class FileGoneError(Exception):
    """The stored file is no longer there: upload the scene again."""


@contextmanager
def local_file(key: str, folder: Path) -> Iterator[Path]:
    """A path to read a stored file at: the file itself where storage is a disk, else a copy in ``folder``.

    Raises FileGoneError.
    """
    if not default_storage.exists(key):
        raise FileGoneError("The scene's file is no longer stored: upload the scene again (POST /api/v1/scenes).")
    try:
        yield Path(default_storage.path(key))
    except NotImplementedError:
        copy = folder / "stored"
        with default_storage.open(key) as stored, copy.open("wb") as target:
            shutil.copyfileobj(stored, target, _COPY_BYTES)
        yield copy


def store(job: JobContext, path: Path, *, media_type: str) -> StoredFile:
    """Copies an output of this attempt into storage, under a key that only this attempt uses."""
    with path.open("rb") as stream:
        key = default_storage.save(job.file_key(path.name), File(stream))
    return StoredFile(name=path.name, key=key, media_type=media_type, bytes=path.stat().st_size)
