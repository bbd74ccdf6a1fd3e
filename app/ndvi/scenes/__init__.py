"""The embedded sample archive: a small STAC API over generated scenes, run as ``python -m ndvi.scenes``.

It stands in for a public archive so that the stack works without one, and speaks the same protocol:
``NDVI_UPSTREAM_URL`` can point at a public STAC API instead. Every byte follows from tile and date.
No Django, no database, no state.
"""
