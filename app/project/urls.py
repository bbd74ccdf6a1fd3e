"""Every path of the web service. An app adds operations by `api_router = "dotted.path.router"` on its AppConfig."""

from django.apps import apps
from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from jobs.api import dead_letters, files, jobs
from jobs.api.application import HoldfastAPI
from project import health

api = HoldfastAPI()
api.add_router("/v1/jobs", jobs.router)
api.add_router("/v1/jobs", files.router)
api.add_router("/v1/dead-letters", dead_letters.router)
for _app in apps.get_app_configs():
    if _router := getattr(_app, "api_router", None):
        api.add_router("/v1", _router)

urlpatterns = [
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("api/", api.urls),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(url="/api/docs", permanent=False)),
]

handler400 = "project.error_pages.bad_request"
handler403 = "project.error_pages.permission_denied"
handler404 = "project.error_pages.not_found"
handler500 = "project.error_pages.server_error"
