"""Real servers for tests: Postgres, Redis and a Sentinel topology as child processes on loopback.

Nothing here is mocked. Each handle owns one process group and can kill, freeze, thaw and restart it.
The pytest side (fixtures, the environment Django reads) is in `plugin`.
"""
