"""`traps`: the table of stream consumers and the eighteen ways to lose work, each cell run now in the test image."""

import argparse
import os
from typing import Final

from scripts.stack import processes, test_container
from scripts.stack.deployment import Stack
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox

SUITE: Final = "tests/contract/stream_consumers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", dest="only", default="", help="pytest's expression, such as: trap_04 and bridge")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    """The status of pytest: 0 when every cell is as recorded."""
    image = ImageStore(stack, Toolbox(stack.root / ".tools")).ensure_tests()
    chosen = ["-m", "sample or not sample", "-k", arguments.only, SUITE]
    command = [*test_container.PYTEST, "--show-capture=no", "-r", "fE", *chosen]
    name = f"holdfast-traps-{os.getpid()}"
    return processes.call(test_container.argv(stack.root, image, command, name=name), check=False)
