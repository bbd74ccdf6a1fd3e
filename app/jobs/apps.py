"""The Django app: registers the built-in kinds and every `kinds` module of an installed app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # They register kinds, and need the settings.
        from jobs import probes  # noqa: F401
        from jobs.webhooks import delivery  # noqa: F401

        autodiscover_modules("kinds")
