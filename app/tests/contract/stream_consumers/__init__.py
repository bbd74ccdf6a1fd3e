"""Eighteen ways in which a consumer of a Redis stream loses, repeats or hides work, as tests for any consumer.

`consumer` is what a consumer must offer to be run through them; `recorded` says who is known to fall into which trap.
`make traps` prints the table.
"""
