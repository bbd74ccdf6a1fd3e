"""The courier: the one thread of this process that speaks to the broker for dispatch.

Every caller waits for the courier no longer than its budget, whatever the courier is stuck in: discovery over three
silent Sentinels, a connect, a read. That is how one deadline covers all of them. What waits together travels together:
sixteen web threads that dispatch at once cost one round trip.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Event, Lock, Thread
from typing import Any, Final

import redis
from redis import exceptions

from dispatch.errors import DispatchRefused, Reason

type Command = tuple[str | bytes | int, ...]

#: Commands in one round trip. Redis serves nobody else during a transaction: 1,000 LPUSHes hold it for about 2 ms.
MAX_COMMANDS_PER_TRIP: Final = 1000


class Parcel:
    """Commands or a question, and where the answer goes. The first outcome stands."""

    def __init__(self, commands: Sequence[Command], ask: Callable[[redis.Redis], Any] | None = None) -> None:
        self.commands = commands
        self.ask = ask
        self.abandoned = False
        self._lock = Lock()
        self._settled = Event()
        self._answer: Any = None
        self._error: BaseException | None = None

    def answer(self, value: object) -> None:
        self._settle(value, None)

    def fail(self, error: BaseException) -> None:
        self._settle(None, error)

    def wait(self, seconds: float) -> Any:  # noqa: ANN401 - the type of the question's answer
        if not self._settled.wait(seconds):
            self.abandoned = True
            self.fail(DispatchRefused(Reason.DEADLINE, f"no answer from Redis within {seconds:.3f} s"))
        if self._error is not None:
            raise self._error
        return self._answer

    def _settle(self, value: object, error: BaseException | None) -> None:
        with self._lock:
            if not self._settled.is_set():
                self._answer, self._error = value, error
                self._settled.set()


class Courier:
    """Runs parcels one trip after the other. `connect` makes the client; it is called on the courier's own thread."""

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        self._connect = connect
        self._client: redis.Redis | None = None
        self._waiting: deque[Parcel] = deque()
        self._travelling: list[Parcel] = []
        self._arrived = Condition()
        self._thread: Thread | None = None

    def send(self, commands: Sequence[Command], *, budget_seconds: float) -> list[Any]:
        """Sends commands as one unit: all are taken or none. Returns their replies; raises DispatchRefused."""
        return self._post(Parcel(commands), budget_seconds)  # type: ignore[no-any-return]

    def ask[T](self, question: Callable[[redis.Redis], T], *, budget_seconds: float) -> T:
        """Runs `question` on the courier's connection. Raises DispatchRefused."""
        return self._post(Parcel((), question), budget_seconds)  # type: ignore[no-any-return]

    def fail_waiting(self, error: DispatchRefused) -> None:
        """Answers everybody who waits with `error`, so that one fault costs one budget and not one per thread."""
        with self._arrived:
            parcels = [*self._travelling, *self._waiting]
            self._waiting.clear()
        for parcel in parcels:
            parcel.fail(error)

    def _post(self, parcel: Parcel, budget_seconds: float) -> Any:  # noqa: ANN401
        with self._arrived:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="dispatch-courier", daemon=True)
                self._thread.start()
            self._waiting.append(parcel)
            self._arrived.notify()
        return parcel.wait(budget_seconds)

    def _run(self) -> None:
        while True:
            with self._arrived:
                self._travelling = []
                self._arrived.wait_for(lambda: self._waiting)
                self._travelling = self._load()
            self._travel(self._travelling)

    def _load(self) -> list[Parcel]:
        """The next trip: one question, or as many command parcels as fit."""
        load: list[Parcel] = []
        size = 0
        while self._waiting:
            parcel = self._waiting[0]
            if load and (parcel.ask or load[0].ask or size + len(parcel.commands) > MAX_COMMANDS_PER_TRIP):
                break
            self._waiting.popleft()
            if not parcel.abandoned:  # its caller is gone: what it sent would only be a duplicate
                load.append(parcel)
                size += len(parcel.commands)
        return load

    def _travel(self, load: Sequence[Parcel]) -> None:
        try:
            answers = self._answers(load)
        except Exception as error:
            self._drop_connection()
            refused = refusal(error)
            for parcel in load:
                parcel.fail(refused)
        else:
            for parcel, answer in zip(load, answers, strict=True):
                parcel.answer(answer)

    def _answers(self, load: Sequence[Parcel]) -> list[Any]:
        if not load:
            return []
        if self._client is None:
            self._client = self._connect()
        if load[0].ask is not None:
            return [load[0].ask(self._client)]
        replies = deque(execute(self._client, [command for parcel in load for command in parcel.commands]))
        return [[replies.popleft() for _ in parcel.commands] for parcel in load]

    def _drop_connection(self) -> None:
        """The next trip starts at discovery: the node may have been demoted, or be frozen."""
        if self._client is not None:
            with suppress(Exception):
                self._client.connection_pool.disconnect()


def execute(client: redis.Redis, commands: Sequence[Command]) -> list[Any]:
    """Runs commands in one round trip; more than one as a transaction, so that a refused one refuses all."""
    if len(commands) == 1:
        return [client.execute_command(*commands[0])]  # type: ignore[no-untyped-call]
    with client.pipeline(transaction=True) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        return list(pipeline.execute())


def refusal(error: Exception) -> DispatchRefused:
    """What a fault of redis-py means to a dispatcher."""
    match error:
        case DispatchRefused():
            return error
        case exceptions.TimeoutError():
            reason = Reason.DEADLINE
        case exceptions.ConnectionError() | OSError():
            reason = Reason.UNREACHABLE
        case exceptions.OutOfMemoryError():
            reason = Reason.MEMORY
        case exceptions.ReadOnlyError():
            reason = Reason.READ_ONLY
        case exceptions.ResponseError() if "NOREPLICAS" in str(error) or "MISCONF" in str(error):
            reason = Reason.READ_ONLY
        case _:
            reason = Reason.REJECTED
    return DispatchRefused(reason, f"{type(error).__name__}: {error}")
