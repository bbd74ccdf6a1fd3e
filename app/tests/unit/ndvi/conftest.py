"""Property tests are not timed: a busy machine is no counter-example. A failure prints how to repeat it."""

from hypothesis import settings

settings.register_profile("ndvi", deadline=None, print_blob=True)
settings.load_profile("ndvi")
