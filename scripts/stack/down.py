"""`down`: no container and no network is left; volumes stay unless asked."""

import argparse
import shutil

from scripts.stack import console, host_history, start_record
from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.toolbox import Toolbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--volumes", action="store_true", help="delete the data too")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    down(stack, volumes=arguments.volumes)
    return 0


def down(stack: Stack, *, volumes: bool = False) -> None:
    """Stop and remove the stack, whatever mode and topology it was started in."""
    compose = Compose(Toolbox(stack.root / ".tools").compose(), stack, profiles=("*",))
    with console.step(f"Stopping {stack.project}"):
        status = compose.call_quietly(compose.down(volumes=volumes))
    start_record.record_path(compose).unlink(missing_ok=True)
    if volumes:
        # What clients were told of jobs that are gone now would be told of jobs that were lost.
        shutil.rmtree(host_history.folder(stack), ignore_errors=True)
    if status != 0:
        raise StackError("The stack could not be removed whole.", fix=f"read {compose.log_path}, then: make down")
