"""Verbs of the command line. A verb is a module with `add_arguments(parser)` and `run(arguments, stack) -> status`."""

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Final

from scripts.stack import console, deployment
from scripts.stack.errors import StackError

#: Verb -> module of this package and what the verb does. The module is imported only when its verb is called.
VERBS: Final = {
    "up": ("up", "bring the stack up and send one job through it"),
    "mode": ("mode", "say how the stack runs, or switch it"),
    "down": ("down", "remove containers and networks, keep the data"),
    "ps": ("look", "list the services"),
    "logs": ("look", "show logs"),
    "compose": ("passthrough", "any Compose command on the stack that runs"),
    "smoke": ("smoke", "send one job through every pool"),
    "ndvi": ("ndvi", "vegetation index of a GeoTIFF"),
    "dlq": ("dead_letters", "list dead letters"),
    "replay": ("replay", "run dead-lettered jobs again"),
    "handover": ("handover", "let another Redis node lead, without losing a write"),
    "verify-data": ("verify_data", "what must never be true of the rows"),
    "restart": ("restart", "make containers anew one by one, Redis without losing a write"),
    "history": ("history", "judge what the stack wrote down of itself"),
    "preflight": ("preflight", "check this host"),
    "lint": ("checks", "run the linters"),
    "test": ("checks", "run the linters and every test"),
    "api-check": ("api_check", "schemathesis against the API's own document"),
    "traps": ("traps", "which stream consumer loses work in which way"),
    "mutants": ("mutants", "break one thing on purpose; the checks must see it"),
    "footprint": ("footprint", "CPU and memory per service"),
    "images": ("image_verb", "pull or build every image"),
}

#: Exit status when something did not hold, as opposed to a wrong command line (2, argparse's own).
FAILED: Final = 1
INTERRUPTED: Final = 130


def main(argv: Sequence[str]) -> int:
    """Run one verb; an error is one sentence and the command to run next."""
    arguments = _parser().parse_args(argv)

    def run() -> int:
        stack = deployment.load(Path.cwd(), env_path=arguments.env_file)
        module = import_module(f"scripts.stack.{VERBS[arguments.verb][0]}")
        return int(module.run(arguments, stack))

    return exit_status(run)


def exit_status(run: Callable[[], int], *, interrupted: str = "") -> int:
    """What `run` returns. An error is said with the command to run next, Ctrl-C in the words of `interrupted`."""
    try:
        return run()
    except StackError as error:
        console.warn(f"error: {error}")
        return FAILED
    except KeyboardInterrupt:
        if interrupted:
            console.warn(interrupted)
        return INTERRUPTED


def interrupt(_signum: int, _frame: FrameType | None) -> None:
    """Signal handler: SIGTERM ends a run as Ctrl-C does, so that it heals what it broke."""
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m scripts.stack", description=__doc__)
    parser.add_argument("--env-file", type=_path, metavar="FILE", help="a stack other than that of .env")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (module, summary) in VERBS.items():
        import_module(f"scripts.stack.{module}").add_arguments(verbs.add_parser(verb, help=summary))
    return parser


def _path(text: str) -> Path:
    return Path(text).resolve()
