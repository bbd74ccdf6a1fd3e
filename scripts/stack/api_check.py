"""`api-check`: schemathesis against the API's own document, with a key of each scope, inside the test image."""

import argparse
import os

from scripts.stack import processes, test_container
from scripts.stack.deployment import Stack
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, help="of the random cases; printed by each run")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    image = ImageStore(stack, Toolbox(stack.root / ".tools")).ensure_tests()
    command = ["python", "-m", "tests.api_check"]
    if arguments.seed is not None:
        command += ["--seed", str(arguments.seed)]
    name = f"holdfast-api-check-{os.getpid()}"
    return processes.call(test_container.argv(stack.root, image, command, name=name), check=False)
