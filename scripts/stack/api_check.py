"""`api-check`: schemathesis against the API's own document, with a key of each scope, inside the test image."""

import argparse
import os

from scripts.stack import processes, test_container
from scripts.stack.deployment import Stack
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs=argparse.REMAINDER, help="--cases N --seed N --only-all-scopes")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    image = ImageStore(stack, Toolbox(stack.root / ".tools")).ensure_tests()
    command = ["python", "-m", "tests.api_check", *arguments.words]
    name = f"holdfast-api-check-{os.getpid()}"
    return processes.call(test_container.argv(stack.root, image, command, name=name), check=False)
