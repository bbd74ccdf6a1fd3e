"""Django settings: the composition root. Values come from `project.env`; nothing here reads os.environ."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import history
import postgres_deadline
from project import env, logs

APP_ROOT = Path(__file__).resolve().parent.parent

HOLDFAST = env.load_or_exit()
REDIS_TOPOLOGY = HOLDFAST.topology()

logs.configure(level=HOLDFAST.log_level, log_format=HOLDFAST.log_format)
LOGGING_CONFIG = None  # project.logs owns logging; Django's defaults would add a second handler
if HOLDFAST.holdfast_history:
    history.start(HOLDFAST.history_dir)

# -- Django ---------------------------------------------------------------------------------------------------------
SECRET_KEY = HOLDFAST.django_secret_key.get_secret_value()
DEBUG = False
ALLOWED_HOSTS = list(HOLDFAST.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(HOLDFAST.csrf_trusted_origins)
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "ninja",
    "jobs",
    "exporter",
    "bridge",
    "worker",
    *HOLDFAST.domain_apps,
]

MIDDLEWARE = [
    "project.middleware.request_deadline",
    "project.middleware.security_headers",
    "django.middleware.security.SecurityMiddleware",
    "project.middleware.api_directly",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# Sessions live in the database: a cache that is down makes Django's create() loop 10,000 times.
SESSION_ENGINE = "django.contrib.sessions.backends.db"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]


# -- Postgres -------------------------------------------------------------------------------------------------------
def _database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "postgres_deadline.backend",
        "HOST": parts.hostname or "",
        "PORT": parts.port or 5432,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "NAME": unquote(parts.path.lstrip("/")),
        # 0 with a pool: a connection goes back to the pool after each request.
        "CONN_MAX_AGE": 0,
        "OPTIONS": postgres_deadline.options(pool_size=HOLDFAST.database_pool_size),
    }


DATABASES = {"default": _database(HOLDFAST.database_url.get_secret_value())}

# -- Redis ----------------------------------------------------------------------------------------------------------
CACHES = {
    "default": {
        "BACKEND": "project.cache.Cache",
        **REDIS_TOPOLOGY.django_cache(key_prefix=HOLDFAST.cache_key_prefix),
    }
}

# -- files ----------------------------------------------------------------------------------------------------------
MEDIA_ROOT = HOLDFAST.files_dir
STATIC_URL = "/static/"
STATIC_ROOT = HOLDFAST.static_dir
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
# Uploads go to disk: a tmpfs counts against the container's memory.
FILE_UPLOAD_TEMP_DIR = str(HOLDFAST.scratch_dir)
FILE_UPLOAD_PERMISSIONS = 0o640
DATA_UPLOAD_MAX_MEMORY_SIZE = HOLDFAST.max_request_bytes

# -- HTTP -----------------------------------------------------------------------------------------------------------
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    # TLS ends in front of the stack (it publishes plain HTTP on loopback); set these where it does.
    "security.W004",
    "security.W008",
    "security.W012",
    "security.W016",
]
