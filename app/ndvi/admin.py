"""Scenes in Django's admin: to look at, not to change."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.http import HttpRequest

from ndvi.models import Scene

if TYPE_CHECKING:
    _SceneAdmin = admin.ModelAdmin[Scene]
else:  # Django's class takes no parameter while it runs
    _SceneAdmin = admin.ModelAdmin


@admin.register(Scene)
class SceneAdmin(_SceneAdmin):
    list_display = ("id", "name", "owner", "bytes", "width", "height", "bands", "dtype", "created_at")
    search_fields = ("id", "name", "owner")
    ordering = ("-created_at",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def has_change_permission(self, request: HttpRequest, obj: Scene | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Scene | None = None) -> bool:  # noqa: ARG002
        return False
