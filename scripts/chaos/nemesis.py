"""Carries a plan out, each step in a thread of its own because faults overlap, and heals whatever it broke.

A step that finds nothing to break is noted and counts for nothing. A healing that fails is left to `restore`, which
undoes everything whoever broke it. A fault that fails in a way that nobody foresaw leaves the run without a verdict.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final

from scripts.chaos.faults import Fault
from scripts.chaos.plan import Plan, Step
from scripts.stack import console, host_history
from scripts.stack.errors import StackError
from scripts.stack.resp import RespError

#: What a fault or its healing meets when another fault came first.
IN_THE_WAY: Final = (StackError, OSError, RespError, HTTPException)
#: Seconds for what is under way when a run is broken off: a graceful stop takes 30.
_LAST_HEALING_SECONDS: Final = 60.0
#: Why a fault broke nothing, as long as its injection has not returned.
_UNDER_WAY: Final = "its injection did not return"


@dataclass
class Deed:
    """What became of one step. Unix times."""

    step: Step
    words: str = ""
    began: float | None = None
    healed: float | None = None
    failure: str = ""  #: why it broke nothing
    is_taken_over: bool = True

    @property
    def applied(self) -> bool:
        return self.began is not None and not self.failure


class Nemesis:
    """`start`, then `finish` on every way out: after it each fault that was injected was asked to heal."""

    def __init__(self, plan: Plan, fault_of: Callable[[Step], Fault]) -> None:
        self.deeds = [Deed(step) for step in plan.steps]
        self._fault_of = fault_of
        self._ending = threading.Event()
        self.origin = 0.0  #: Unix time from which the plan counts
        self._origin = 0.0
        self._unforeseen: list[tuple[Step, Exception]] = []
        self._threads = [threading.Thread(target=self._in_thread, args=(deed,), daemon=True) for deed in self.deeds]

    def start(self) -> None:
        self.origin, self._origin = time.time(), time.monotonic()
        for thread in self._threads:
            thread.start()

    def await_last(self) -> None:
        """Returns when every step is healed. Raises StackError when a fault failed in a way that nobody foresaw."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(timeout=1.0)
        if self._unforeseen:
            step, error = self._unforeseen[0]
            what = f"{step.words()} failed in a way that nobody foresaw: {error!r}"
            raise StackError(what, fix="read its traceback above, mend the fault, then: make chaos") from error

    def finish(self) -> None:
        """Begins no further step, heals what is broken now; safe to call again, and before `start`. Raises nothing."""
        self._ending.set()
        deadline = time.monotonic() + _LAST_HEALING_SECONDS
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def _in_thread(self, deed: Deed) -> None:
        try:
            self._carry_out(deed)
        except Exception as error:
            self._unforeseen.append((deed.step, error))
            raise  # for its traceback

    def _carry_out(self, deed: Deed) -> None:
        if self._ending.wait(max(0.0, self._origin + deed.step.at - time.monotonic())):
            return
        fault = self._fault_of(deed.step)
        deed.is_taken_over = fault.is_taken_over
        try:
            self._inject(fault, deed)
            if not deed.failure:
                self._ending.wait(deed.step.lasts)
        finally:
            self._heal(fault, deed)

    def _inject(self, fault: Fault, deed: Deed) -> None:
        deed.began, deed.failure = time.time(), _UNDER_WAY
        try:
            fault.inject()
        except IN_THE_WAY as error:
            deed.failure = _reason(error)
            self._say(f"{deed.step.words()} did not apply: {deed.failure}")
            return
        deed.words, deed.failure = fault.describe(), ""
        host_history.fault(deed.step.fault, deed.words)
        self._say(deed.words)

    def _heal(self, fault: Fault, deed: Deed) -> None:
        try:
            fault.heal()
        except IN_THE_WAY as error:
            self._say(f"{deed.step.fault} is left for later: {_reason(error)}")
            return
        deed.healed = time.time()
        if deed.step.lasts and deed.applied:
            host_history.fault(f"healed {deed.step.fault}")
            self._say(f"healed: {deed.step.fault}")

    def _say(self, words: str) -> None:
        console.say(f"  {time.monotonic() - self._origin:+7.1f} s  {words}")


def _reason(error: Exception) -> str:
    said = error.what if isinstance(error, StackError) else str(error)
    return said.splitlines()[0][:160] if said else type(error).__name__
