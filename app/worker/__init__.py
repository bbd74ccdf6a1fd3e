"""What Celery's worker lacks: lease renewal, stopping by progress and by time, hand-back, liveness."""
