"""Host-side tools of the stack: standard library only, so that a clone and Python 3.11 are enough to run them."""
