"""An ordinary Django project around another system: Postgres, connections that are kept and checked."""

import os
from urllib.parse import unquote, urlsplit

_url = urlsplit(os.environ["DATABASE_URL"])

SECRET_KEY = "only-for-the-comparison"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [name for name in os.environ["OTHERS_APPS"].split(",") if name]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.hostname,
        "PORT": _url.port,
        "USER": _url.username,
        "PASSWORD": unquote(_url.password or ""),
        "NAME": _url.path.lstrip("/"),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
}

# -- Procrastinate: heartbeats as its documentation has them, ten times as often ------------------------------------
PROCRASTINATE_IMPORT_PATHS = ["tests.others.with_procrastinate"]
PROCRASTINATE_WORKER_DEFAULTS = {"concurrency": 2, "update_heartbeat_interval": 1.0}

# -- django-tasks-db ------------------------------------------------------------------------------------------------
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
