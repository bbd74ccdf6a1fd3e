"""The Django app: brings the command `run_exporter`."""

from django.apps import AppConfig


class ExporterConfig(AppConfig):
    name = "exporter"
