"""`ps` and `logs`: Compose's own views of the stack that was started last."""

import argparse
from typing import Final

from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.toolbox import Toolbox

#: Options that Compose gets with each verb.
OPTIONS: Final = {"ps": ("--all",), "logs": ("--follow", "--tail", "200")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", help="services to look at; default all")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    compose = Compose(Toolbox(stack.root / ".tools").compose(), stack, profiles=("*",))
    if arguments.services:
        # Compose itself says nothing and ends with 0.
        known = sorted(compose.read(compose.argv("config", "--services")).split())
        if unknown := [name for name in arguments.services if name not in known]:
            what = f"{', '.join(unknown)}: no such service. There are {', '.join(known)}."
            raise StackError(what, fix=f"make logs SERVICE={known[0]}")
    return compose.call(compose.argv(arguments.verb, *OPTIONS[arguments.verb], *arguments.services), check=False)
