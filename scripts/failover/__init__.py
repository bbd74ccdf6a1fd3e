"""`make failover`: one fault of Redis or Sentinel under load, its timeline, what it cost, and the verdict."""
