"""What is left to do when a transaction has committed: no fault of it turns the commit into an error."""

from collections.abc import Callable
from functools import wraps

from django.db import transaction


def after_commit[**P](work: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
    """Calls `work` when the transaction commits, never when it rolls back. What it raises is logged."""

    # A function and no partial: Django logs a fault by the function's __qualname__, and raises where there is none.
    @wraps(work)
    def call() -> None:
        work(*arguments, **named)

    transaction.on_commit(call, robust=True)
