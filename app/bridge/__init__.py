"""Redis Streams to Celery: each entry is published, and acknowledged and deleted in the same transaction."""
