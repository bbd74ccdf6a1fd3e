"""Registers the domain with Django; ``api_router`` is mounted under /api/v1 by the project."""

from django.apps import AppConfig

from ndvi import gdal_limits


class NdviConfig(AppConfig):
    name = "ndvi"
    verbose_name = "Vegetation index"
    default_auto_field = "django.db.models.BigAutoField"
    api_router = "ndvi.api.router"

    def ready(self) -> None:
        gdal_limits.apply()
