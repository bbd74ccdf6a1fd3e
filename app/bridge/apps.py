"""The Django app that brings `manage.py run_bridge`; it has no models."""

from django.apps import AppConfig


class BridgeConfig(AppConfig):
    name = "bridge"
