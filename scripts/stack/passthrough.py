"""`compose`: any Compose command on the stack that was started last, with its files, images and project.

Bare `docker compose` would read compose.yaml and .env alone: no Sentinels, no recorded images, another REDIS_URL.
"""

import argparse

from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.toolbox import Toolbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs=argparse.REMAINDER, help="a Compose command and its arguments")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    compose = Compose(Toolbox(stack.root / ".tools").compose(), stack, profiles=("*",))
    return compose.call(compose.argv(*(arguments.words or ["ps", "--all"])), check=False)
