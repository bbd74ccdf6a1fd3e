"""`images`: make every image present and write their names where compose.yaml reads them."""

import argparse

from scripts.stack import console
from scripts.stack.deployment import Stack
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tests", action="store_true", help="the image that the tests run in, and nothing else")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    store = ImageStore(stack, Toolbox(stack.root / ".tools"))
    if arguments.tests:
        console.say(store.ensure_tests())
        return 0
    ready = store.ensure()
    ready.save_state()
    for name, image in ready.state.items():
        console.say(f"{name}={image}")
    return 0
