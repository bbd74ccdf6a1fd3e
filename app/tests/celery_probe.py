"""A Celery app with the project's own configuration and a task that returns: `celery -A tests.celery_probe worker`."""

from celery import Celery
from django.conf import settings

from project.celery import _OURS, _TRANSPORT
from redis_topology import Topology


def configured(topology: Topology | None = None) -> Celery:
    """A fresh app with the project's settings over `topology` (default: REDIS_URL's), sharing no connection."""
    rendered = (topology or settings.REDIS_TOPOLOGY).celery()
    own = {"broker_transport_options": rendered["broker_transport_options"] | _TRANSPORT, "imports": ()}
    # Without the Django fixup: it loads every app and checks every URL before the worker starts.
    app = Celery("probe", set_as_current=False, fixups=())
    app.conf.update({**rendered, **_OURS, **own, "task_ignore_result": False})
    return app


app = configured()


@app.task(name="probe.add", ignore_result=False)
def add(left: int, right: int) -> int:
    return left + right
