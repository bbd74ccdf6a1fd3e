"""Cuts containers off by iptables in their own network namespace.

A helper container enters the namespace before the fault, so that the cut itself takes one moment, and heals when it
ends. It ends by itself after three minutes, whatever becomes of the drill.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from scripts.stack import host_history, processes
from scripts.stack.errors import StackError
from scripts.stack.waiting import wait_until

#: Seconds until a helper waits in its namespace, and that it has to undo its rules.
_READY_SECONDS: Final = 30.0
_UNDO_SECONDS: Final = 10


@dataclass
class Cuts:
    """`find_image` makes the image of services/netfilter present; it is called when something is to be cut."""

    find_image: Callable[[], str]
    _rules: dict[str, Sequence[str]] = field(default_factory=dict)  #: helper -> what it is to drop

    def prepare(self, rules: Mapping[str, Sequence[str]]) -> None:
        """Helpers for containers (id -> matches of iptables, as "-s 10.0.0.1"). Nothing is cut yet."""
        image = self.find_image()
        _at_once(lambda one: self._enter(image, *one), rules.items())

    def cut(self) -> None:
        """Cuts all that was prepared."""
        host_history.fault("cut", *self._rules)
        _at_once(lambda one: _docker("exec", one[0], "sh", "/usr/local/bin/cut.sh", *one[1]), self._rules.items())

    def heal(self) -> None:
        """Ends the helpers, which undo their rules; safe to call again."""
        if self._rules:
            host_history.fault("mend", *self._rules)
        _at_once(lambda one: self._leave(one[0]), self._rules.items())

    def _enter(self, image: str, container: str, rules: Sequence[str]) -> None:
        options = ["--detach", "--rm", "--init", f"--network=container:{container}", "--user=0:0"]
        options += ["--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--stop-signal=TERM"]
        helper = _docker("run", *options, image).strip()
        self._rules[helper] = rules
        wait_until(
            lambda: "ready" in _docker("logs", helper),
            within=_READY_SECONDS,
            otherwise="the helper that cuts the network did not start",
            fix=f"docker run --rm --cap-add=NET_ADMIN --entrypoint=iptables {image} -L",
        )

    def _leave(self, helper: str) -> None:
        with suppress(StackError):  # it may have ended by itself
            _docker("stop", f"--time={_UNDO_SECONDS}", helper)
        self._rules.pop(helper, None)


def _at_once(act: Callable[[tuple[str, Sequence[str]]], object], items: Iterable[tuple[str, Sequence[str]]]) -> None:
    if waiting := list(items):
        with ThreadPoolExecutor(len(waiting)) as pool:
            list(pool.map(act, waiting))


def _docker(*arguments: str) -> str:
    return processes.read(["docker", *arguments])
