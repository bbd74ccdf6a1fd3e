"""Schemathesis against a whole web service: `python -m tests.api_check`.

Spawns Postgres, Redis and gunicorn, makes a key of each scope without a rate limit and lets schemathesis send what
the OpenAPI document allows and what it forbids. Clean means: no 5xx, no undeclared status or content type, no answer
off its schema, no operation that ignores a missing key.
"""
