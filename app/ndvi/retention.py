"""Scenes that nobody uses are forgotten RETENTION_DAYS after they came, with their files."""

from typing import Final

from django.conf import settings
from django.db import connection

from jobs.retention import delete_files

# A job uses its scene until retention thins it. The index ndvi_job_scene serves the inner look.
_FORGET: Final = """
    DELETE FROM ndvi_scene WHERE id IN (
        SELECT id FROM ndvi_scene scene
        WHERE created_at < statement_timestamp() - make_interval(days => %(retention)s)
          AND NOT EXISTS (
            SELECT FROM job
            WHERE kind = 'ndvi.compute' AND thinned_at IS NULL AND params ->> 'scene' = scene.id::text)
        ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING key
"""


def forget_scenes(limit: int) -> int:
    """Deletes at most `limit` scenes and their files. Returns how many scenes."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, {"retention": settings.HOLDFAST.retention_days, "limit": limit})
        keys = [row[0] for row in cursor.fetchall()]
    delete_files(keys)
    return len(keys)
