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
_HEAD: Final = ("dead since (UTC)", "kind", "reason", "tries", "id", "")
#: Characters of an error in its line.
_ERROR: Final = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="*", metavar="NAME=VALUE", help=f"of {', '.join(LISTED)}")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    wanted = parse_filter(arguments.filter, LISTED, 'make dlq FILTER="kind=probe.fast replayed=false"')
    page = ApiClient.of(stack).get("/dead-letters" + (f"?{urlencode(wanted)}" if wanted else ""))
    letters = page["dead_letters"]
    if not letters:
        console.say("No dead letters" + (f" of {' '.join(arguments.filter)}." if wanted else "."))
        return 0
    for line in table(letters):
        console.say(line)
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


def table(letters: Sequence[Json]) -> list[str]:
    """One line per letter under a head; each column as wide as what stands in it."""
    rows = [_HEAD, *(_row(letter) for letter in letters)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _row(letter: Json) -> tuple[str, ...]:
    error = " ".join(letter["error_message"].split())
    return (
        letter["created_at"][:19].replace("T", " "),
        letter["kind"] or "-",
        letter["reason"],
        str(letter["delivery_count"]),
        letter["id"],
        f"replayed as {letter['replayed_as']}" if letter["replayed_as"] else shortened(error),
    )


def shortened(text: str) -> str:
    """The text, or its beginning and a sign that more follows."""
    return text if len(text) <= _ERROR else f"{text[: _ERROR - 1]}…"


def _say_next(letters: Sequence[Json], cursor: str | None, words: Sequence[str]) -> None:
    asked = " ".join(word for word in words if not word.startswith("cursor="))
    if cursor:
        console.say(f'  more: make dlq FILTER="{f"{asked} cursor={cursor}".strip()}"')
    open_letter = next((letter for letter in letters if letter["job_id"] and not letter["replayed_as"]), None)
    if open_letter:
        console.say(f'  next: make replay ID={open_letter["id"]}, or many: make replay FILTER="…" DRY_RUN=1')
