"""Django as small as it gets around the bare view: no middleware, a plain connection pool."""

from project.settings import *  # noqa: F403
from project.settings import DATABASES

ROOT_URLCONF = "tests.bench.bare_view"
MIDDLEWARE = []
DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 4, "max_size": 24}}
