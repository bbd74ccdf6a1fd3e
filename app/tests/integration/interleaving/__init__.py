"""The job system in one process: the steps of its actors in an order drawn from a seed, and their deaths.

Client, dispatcher, bridge, claim, handler, finish and sweeper are the real ones, on the real Redis and Postgres. What
stands in for time, processes and signals:

- time passes where a step says so: it moves the rows' times back; Redis's clock cannot be moved, so it is the limit of
  a consumer's silence that moves;
- a death is an exception at the n-th call to a server, before it is sent or after it was carried out unheard;
- a freeze is a lease that is held while the others go on, and ends when its holder thaws.

At the end everybody is well, and what is open must end. Then `scripts.checker` judges history and rows, and the
exporter's invariants are counted, as they are in between.
"""
