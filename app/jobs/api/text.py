"""Text and numbers as a stranger sends them: what Postgres and JSON can carry, and nothing else."""

import json
from typing import Annotated, Any, Final, Never

from pydantic import AfterValidator

from jobs.api.problems import Problem, invalid

#: Levels of arrays and objects inside each other.
MAX_DEPTH: Final = 32

#: Up to here every whole number has a float of its own.
_EXACT: Final = 2**53

#: As a pattern: any text that Postgres can hold.
STORABLE: Final = r"^[^\x00]*$"


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character: remove it")
    return value


#: A string that Postgres can hold. (pydantic refuses lone surrogates itself.)
Storable = Annotated[str, AfterValidator(_storable)]


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """The value of a JSON text in UTF-8. Raises Problem 422 whose field is `body`."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_number)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise invalid([{"field": "body", "message": f"is not JSON in UTF-8: {_plain(error)}"}]) from None
    if _is_deeper_than(MAX_DEPTH, value):
        raise _too_deep()
    return value


def _number(text: str) -> float | int:
    """JSON knows one kind of number: 1.0 and 1 are the same, so they must make the same request."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= _EXACT else value


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON number")


def _plain(error: ValueError) -> str:
    # int() refuses more than 4,300 digits with advice meant for programmers.
    return "a number has too many digits" if "integer string conversion" in str(error) else str(error)


def _too_deep() -> Problem:
    return invalid([{"field": "body", "message": f"is nested too deeply: use at most {MAX_DEPTH} levels"}])


def _is_deeper_than(limit: int, value: object) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
