"""Deaths: a process ends at its n-th call to a server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import redis


class Killed(BaseException):
    """A process ends here. Not an Exception: no code of the process may survive it."""


@dataclass
class Fuse:
    """Kills at the `left`-th call to a server: unsent, or `late`, when the server has done it and nobody heard."""

    left: int
    late: bool

    def burn[T](self, send: Callable[[], T]) -> T:
        self.left -= 1
        if self.left == 0 and not self.late:
            raise Killed
        answer = send()
        if self.left == 0:
            raise Killed
        return answer

    def __call__(self, execute: Callable[..., Any], *call: Any) -> Any:  # noqa: ANN401 - Django's execute_wrapper
        return self.burn(partial(execute, *call))


@contextmanager
def burning(client: redis.Redis | None, fuse: Fuse) -> Iterator[None]:
    if client is None:
        yield
        return
    send = client.execute_command

    def burn(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        return fuse.burn(partial(send, *words, **options))

    with mock.patch.object(client, "execute_command", burn):
        yield
