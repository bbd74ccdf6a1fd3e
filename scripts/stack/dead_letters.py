"""`dlq`: the dead letters of the running stack, newest first. Asked through the API with the first key."""

import argparse
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from scripts.stack import console
from scripts.stack.api_client import ApiClient, Json
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

#: What FILTER may hold; the first row is what a bulk replay takes too.
FILTERS: Final = ("kind", "reason", "pool", "since", "until")
LISTED: Final = (*FILTERS, "replayed", "cursor", "limit")
_LINE: Final = "{created:<19}  {kind:<14} {reason:<18} {tries:>5}  {id:<36}  {fate}"
#: Characters of an error in its line.
_ERROR: Final = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="*", metavar="NAME=VALUE", help=f"of {', '.join(LISTED)}")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    wanted = parse_filter(arguments.filter, LISTED, 'make dlq FILTER="kind=probe.fast replayed=false"')
    page = ApiClient.of(stack).get("/dead-letters" + (f"?{urlencode(wanted)}" if wanted else ""))
    letters = page["dead_letters"]
    if not letters:
        console.say("No dead letters" + (f" of {' '.join(arguments.filter)}." if wanted else "."))
        return 0
    console.say(_LINE.format(created="dead since (UTC)", kind="kind", reason="reason", tries="tries", id="id", fate=""))
    for letter in letters:
        console.say(_line(letter))
    _say_next(letters, page["next_cursor"], arguments.filter)
    return 0


def parse_filter(words: Sequence[str], known: Sequence[str], usage: str) -> dict[str, str]:
    """`["kind=probe.fast", "reason=poison"]` as a dict. Raises StackError that lists what there is."""
    found = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not value or name not in known:
            raise StackError(f"FILTER: {word!r} is no NAME=VALUE of {', '.join(known)}.", fix=usage)
        found[name] = value
    return found


def _line(letter: Json) -> str:
    error = " ".join(letter["error_message"].split())
    return _LINE.format(
        created=letter["created_at"][:19].replace("T", " "),
        kind=letter["kind"] or "-",
        reason=letter["reason"],
        tries=letter["delivery_count"],
        id=letter["id"],
        fate=f"replayed as {letter['replayed_as']}" if letter["replayed_as"] else error[:_ERROR],
    ).rstrip()


def _say_next(letters: Sequence[Json], cursor: str | None, words: Sequence[str]) -> None:
    asked = " ".join(word for word in words if not word.startswith("cursor="))
    if cursor:
        console.say(f'  more: make dlq FILTER="{f"{asked} cursor={cursor}".strip()}"')
    open_letter = next((letter for letter in letters if letter["job_id"] and not letter["replayed_as"]), None)
    if open_letter:
        console.say(f'  next: make replay ID={open_letter["id"]}, or many: make replay FILTER="…" DRY_RUN=1')
