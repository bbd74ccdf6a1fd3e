"""Django's admin: look at jobs, dead letters, keys and schedules. Jobs change through `jobs.sql` only."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from jobs.keys import ApiKey
from jobs.models import DeadLetter, Job, JobEvent, ReplayAudit, Schedule

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Model]
    _TabularInline = admin.TabularInline[JobEvent, Job]
else:  # Django's classes take no parameters while they run
    _ModelAdmin = admin.ModelAdmin
    _TabularInline = admin.TabularInline


class _ReadOnly(_ModelAdmin):
    show_full_result_count = False  # counting a million rows for a page of a hundred

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False


class _Timeline(_TabularInline):
    model = JobEvent
    fields = ("at", "event", "actor", "from_state", "to_state", "attempt", "lease_token", "reason")
    readonly_fields = fields
    ordering = ("id",)
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Job)
class JobAdmin(_ReadOnly):
    list_display = ("id", "kind", "owner", "state", "attempt", "pool", "accepted_at", "finished_at")
    list_filter = ("state", "pool")
    search_fields = ("=id",)
    search_help_text = "A whole job id"
    ordering = ("-id",)
    list_per_page = 50
    inlines = (_Timeline,)


@admin.register(DeadLetter)
class DeadLetterAdmin(_ReadOnly):
    list_display = ("id", "reason", "kind", "owner", "job_id", "created_at", "replayed_at")
    list_filter = ("reason",)
    ordering = ("-id",)
    list_per_page = 50


@admin.register(ReplayAudit)
class ReplayAuditAdmin(_ReadOnly):
    list_display = ("at", "actor", "key_id", "filter", "dry_run", "rate", "matched", "created", "joined", "refused")
    list_filter = ("dry_run",)
    ordering = ("-id",)
    list_per_page = 50


@admin.register(ApiKey)
class ApiKeyAdmin(_ReadOnly):
    """Keys are created and revoked by management commands; their digests are shown nowhere."""

    list_display = ("id", "owner", "scopes", "rate_limit", "created_at", "last_used_at", "revoked_at", "note")
    exclude = ("secret_sha256",)
    ordering = ("-created_at",)


@admin.register(Schedule)
class ScheduleAdmin(_ModelAdmin):
    """Schedules may be paused here; everything else about them is code, see `jobs.schedules`."""

    list_display = ("name", "owner", "cron", "tz", "kind", "paused", "next_tick_at", "last_tick_at", "last_error")
    readonly_fields = (
        *("name", "owner", "cron", "tz", "kind", "farm_id", "params", "priority", "missed"),
        *("next_tick_at", "last_tick_at", "last_error", "created_at"),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False
