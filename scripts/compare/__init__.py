"""`make failover-compare`: the same fault and load against a stock Celery app, beside ours."""
