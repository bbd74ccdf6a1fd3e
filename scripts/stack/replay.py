"""`replay --id ID`, or `replay NAME=VALUE …`: runs dead-lettered jobs again, through the API with the first key."""

import argparse
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from scripts.stack import console
from scripts.stack.api_client import ApiClient, ApiError
from scripts.stack.dead_letters import FILTERS, parse_filter
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

_USAGE: Final = 'make replay ID=<id of make dlq> | FILTER="kind=probe.fast reason=permanent" [RATE=20] [DRY_RUN=1]'
_COUNTED: Final = ("matched", "created", "joined", "refused")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="*", metavar="NAME=VALUE", help=f"of {', '.join(FILTERS)}; or the word all")
    parser.add_argument("--id", nargs="?", help="one dead letter")
    parser.add_argument("--rate", nargs="?", help="jobs per second that may start (20)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would become of them")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    if bool(arguments.id) == bool(arguments.filter):
        raise StackError("Name one dead letter by ID, or many by FILTER (FILTER=all for every one).", fix=_USAGE)
    if arguments.id and (arguments.dry_run or arguments.rate):
        raise StackError("DRY_RUN and RATE go with FILTER; one letter is shown by: make dlq", fix=_USAGE)
    client = ApiClient.of(stack)
    if arguments.id:
        return _one(client, arguments.id)
    wanted = {} if arguments.filter == ["all"] else parse_filter(arguments.filter, FILTERS, _USAGE)
    body: dict[str, Any] = {"filter": wanted, "dry_run": arguments.dry_run}
    if arguments.rate:
        body["rate"] = _rate(arguments.rate)
    return _many(client, body)


def _one(client: ApiClient, letter_id: str) -> int:
    try:
        answer = client.post(f"/dead-letters/{letter_id}/replay", {})
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        raise StackError(error.what, fix="make dlq") from error
    done = "runs again as" if answer["created"] else "is answered by the open or succeeded"
    console.say(f"{letter_id} {done} job {answer['id']} ({answer['status']})")
    return 0


def _many(client: ApiClient, body: Mapping[str, Any]) -> int:
    """Batch after batch to the end; 0 unless something was refused."""
    total: Counter[str] = Counter()
    cursor: str | None = None
    last_start = None
    while True:
        answer = client.post("/dead-letters/replay", {**body, "cursor": cursor})
        total.update({name: answer[name] for name in _COUNTED})
        for refusal in answer["refusals"]:
            console.warn(f"  refused {refusal['id']}: {refusal['message']}")
        last_start, cursor = answer["last_start"] or last_start, answer["next_cursor"]
        if cursor is None:
            break
    counts = ", ".join(f"{total[name]} {name}" for name in _COUNTED)
    starts = f"; the last one may start at {last_start[:19]}Z" if last_start else ""
    console.say(f"{'Dry run, nothing was changed: ' if body['dry_run'] else ''}{counts}{starts}")
    return 1 if total["refused"] else 0


def _rate(text: str) -> float:
    try:
        if math.isfinite(rate := float(text)):
            return rate
    except ValueError:
        pass
    raise StackError(f"RATE={text} is no number of jobs per second.", fix=_USAGE)
