"""Django's ENGINE: its Postgres backend over the pool of this package."""
