"""`mode`: say how the stack runs, or switch it: recreates what the new mode changes, keeps images and data."""

import argparse
import os

from scripts.stack import console
from scripts.stack.deployment import Stack
from scripts.stack.up import up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    del arguments
    if os.environ.get("MODE") or os.environ.get("TOPOLOGY"):
        up(stack)
    else:
        console.say(f"MODE={stack.mode} TOPOLOGY={stack.topology}")
    return 0
