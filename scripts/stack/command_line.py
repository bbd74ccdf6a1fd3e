"""Verbs of the command line. A verb is a module with `add_arguments(parser)` and `run(arguments, stack) -> status`."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
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
    "preflight": ("preflight", "check this host"),
    "lint": ("checks", "run the linters"),
    "test": ("checks", "run the linters and every test"),
    "api-check": ("api_check", "schemathesis against the API's own document"),
    "traps": ("traps", "which stream consumer loses work in which way"),
    "footprint": ("footprint", "CPU and memory per service"),
    "images": ("image_verb", "pull or build every image"),
}

#: Exit status when something did not hold, as opposed to a wrong command line (2, argparse's own).
FAILED: Final = 1
INTERRUPTED: Final = 130


def main(argv: Sequence[str]) -> int:
    """Run one verb; an error is one sentence and the command to run next."""
    arguments = _parser().parse_args(argv)
    try:
        stack = deployment.load(Path.cwd(), env_path=arguments.env_file)
        module = import_module(f"scripts.stack.{VERBS[arguments.verb][0]}")
        return int(module.run(arguments, stack))
    except StackError as error:
        console.warn(f"error: {error}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m scripts.stack", description=__doc__)
    parser.add_argument("--env-file", type=_path, metavar="FILE", help="a stack other than that of .env")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (module, summary) in VERBS.items():
        import_module(f"scripts.stack.{module}").add_arguments(verbs.add_parser(verb, help=summary))
    return parser


def _path(text: str) -> Path:
    return Path(text).resolve()
