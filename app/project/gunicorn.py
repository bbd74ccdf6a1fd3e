"""gunicorn's configuration: one process, WEB_THREADS threads. `gunicorn -c project/gunicorn.py project.wsgi`.

One process, because every thread then shares one pool of Postgres connections, one breaker, one set of counters;
scale by replicas.
"""

from pathlib import Path

from project import env, logs

_environment = env.load_or_exit()

bind = "0.0.0.0:8000"
workers = 1
threads = _environment.web_threads
worker_class = "project.web_worker.WebWorker"
#: Connections, waiting ones included, before no more are accepted.
worker_connections = 2000
backlog = 2048
keepalive = 15  # seconds

#: The worker proves its life by touching a file here: memory, so that a slow disk does not kill it.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else "/tmp"  # noqa: S108
control_socket_disable = True
timeout = 60  # seconds without a proof of life; not a limit on requests
graceful_timeout = 25  # seconds; the container gets 30 to stop

limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = 8190

#: `project.middleware` logs each request with its key; gunicorn's own access log would say it twice.
accesslog = None
errorlog = "-"
logconfig_dict = logs.dict_config(level=_environment.log_level, log_format=_environment.log_format)


def post_worker_init(worker: object) -> None:  # noqa: ARG001 - gunicorn's signature
    """Loads every view before the first request: a service that cannot serve ends at its start, with the reason.

    Prometheus asks a port of its own: each replica by its address, which is no allowed host, and also while every
    request thread waits.
    """
    import project.urls  # noqa: F401
    from metrics import server

    server.serve(_environment.metrics_port)
