"""Redis Streams to Celery: each entry is published, acknowledged and deleted in one step, by whoever is first."""
