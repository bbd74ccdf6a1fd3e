"""The HTTP API: django-ninja operations, their errors, keys and limits."""
