"""Registers the domain with Django; ``api_router`` is mounted under /api/v1 by the project."""

from django.apps import AppConfig

from ndvi import gdal_limits


class NdviConfig(AppConfig):
    name = "ndvi"
    verbose_name = "Vegetation index"
    default_auto_field = "django.db.models.BigAutoField"
    api_router = "ndvi.api.router"

    def ready(self) -> None:
        from jobs import retention
        from ndvi.retention import forget_scenes

        gdal_limits.apply()
        retention.also(forget_scenes)
