"""`mutants`: Holdfast with one thing broken, again and again, and the checks that must see it, in the test image."""

import argparse
import os

from scripts.stack import processes, test_container
from scripts.stack.deployment import Stack
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; default: all")
    parser.add_argument("--runs", default="1", help="of each mutant, with seeds from 1 on")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    """0 when each is caught in every run, and the sound tree passes the same checks."""
    image = ImageStore(stack, Toolbox(stack.root / ".tools")).ensure_tests()
    command = ["python", "-m", "tests.mutants", "--runs", arguments.runs, *arguments.names]
    name = f"holdfast-mutants-{os.getpid()}"
    return processes.call(test_container.argv(stack.root, image, command, name=name), check=False)
