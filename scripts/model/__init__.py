"""A model of the job's life, explored whole: every order of steps and every placing of a bounded number of faults.

`world` holds what a state and a step are and which world is explored; `client`, `redis`, `bridge`, `worker`, `sweeper`
and `time_passes` hold the steps, each named after the function of the application that it stands for; `promises` what
must hold; `search` the exploration; `variants` the same system with one thing broken, each of which must be caught.
"""
