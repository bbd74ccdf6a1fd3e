"""The Django app that brings the Celery task; it has no models."""

from django.apps import AppConfig


class WorkerConfig(AppConfig):
    name = "worker"
