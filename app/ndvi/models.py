"""Scenes: rasters that an account uploaded or that a job fetched for it."""

from django.db import models

from jobs.ids import new_id


class Scene(models.Model):
    """One stored GeoTIFF. The row never changes; the file lies in Django's storage under ``key``."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.CharField(max_length=200)  #: account of the API key; other owners never see the row
    name = models.CharField(max_length=200)  #: file name as the client gave it; for people, never a path
    key = models.CharField(max_length=500)  #: storage key
    bytes = models.BigIntegerField()
    width = models.PositiveIntegerField()  #: pixels
    height = models.PositiveIntegerField()  #: pixels
    bands = models.PositiveIntegerField()
    dtype = models.CharField(max_length=20)  #: numpy's name of the first band's type
    crs = models.TextField(blank=True, default="")  #: EPSG code or WKT
    source = models.JSONField(default=dict, blank=True)  #: where a job fetched it from; empty for uploads
    job_id = models.UUIDField(null=True, blank=True)  #: the job that fetched it; null for uploads
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "ndvi_scene"
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="ndvi_scene_by_owner"),
            models.Index(fields=["created_at"], name="ndvi_scene_age"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"
