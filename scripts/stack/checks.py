"""`lint` and `test`: every check has a name, runs whatever came before it, and is named at the end if it failed."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.stack import console, deployment, env_file, processes, test_container
from scripts.stack.compose import Compose
from scripts.stack.deployment import MODES, TOPOLOGIES, Stack
from scripts.stack.errors import StackError
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox

#: What settings need before mypy's Django plugin can import them; nothing of it is ever reached.
_SETTINGS: Final = (
    "env",
    "HOLDFAST_ENVIRONMENT=test",
    "DJANGO_SECRET_KEY=only-so-that-the-type-checker-can-import-settings",
    "DATABASE_URL=postgresql://nobody@localhost/nothing",
    "REDIS_URL=redis://localhost:6379/0",
)

#: Run in app/ of the copied tree.
APP_LINTERS: Final = {
    "ruff": ("ruff", "check", ".", "../scripts"),
    "format": ("ruff", "format", "--check", ".", "../scripts"),
    "types": (*_SETTINGS, "mypy", "."),
    "import order": ("lint-imports",),
}

#: Run in the root of the copied tree.
ROOT_LINTERS: Final = {
    "types of scripts": ("mypy", "--strict", "--python-version=3.11", "--config-file=", "-p", "scripts"),
    "shell": ("sh", "-c", "shellcheck $(find services scripts .ci -name '*.sh' -o -path .ci/run)"),
    "prometheus": ("promtool", "check", "config", "--syntax-only", "prometheus/prometheus.yml"),
    "alert rules": (
        "sh",
        "-c",
        "promtool check rules prometheus/rules/*.yaml && promtool test rules prometheus/tests/*.yaml",
    ),
}

#: Arguments of Python.
SCRIPT_TESTS: Final = ("-m", "unittest", "discover", "-s", "scripts/tests/unit", "-t", ".", "-v")
STACK_TESTS: Final = ("-m", "scripts.tests.stack")


@dataclass(frozen=True)
class Check:
    """One thing that holds or does not."""

    name: str
    holds: Callable[[], bool]


@dataclass(frozen=True)
class Checks:
    """All checks of this clone."""

    stack: Stack
    toolbox: Toolbox
    image: str  #: the test image

    def linters(self) -> list[Check]:
        return [
            *(self._contained(name, command, "app") for name, command in APP_LINTERS.items()),
            *(self._contained(name, command, ".") for name, command in ROOT_LINTERS.items()),
            *(self._compose_files(mode, topology) for topology in TOPOLOGIES for mode in MODES),
            self._compose_files(MODES[0], TOPOLOGIES[0], overrides="compose.chaos.yaml"),
        ]

    def tests(self, *, quick: bool, selected: Sequence[str]) -> list[Check]:
        """App tests in a container, host tools here, and unless `quick` the stack itself."""
        paths = ["tests/unit", "tests/contract"] if quick else []
        checks = [
            self._contained("tests of the application", (*test_container.PYTEST, *paths, *selected), "app"),
            self._on_host("tests of the scripts", SCRIPT_TESTS),
        ]
        return checks if quick else [*checks, self._on_host("tests of the stack", STACK_TESTS)]

    def _contained(self, name: str, command: Sequence[str], folder: str) -> Check:
        container = f"holdfast-check-{os.getpid()}"
        argv = test_container.argv(self.stack.root, self.image, command, folder=folder, name=container)
        return Check(name, lambda: processes.call(argv, check=False) == 0)

    def _on_host(self, name: str, arguments: Sequence[str]) -> Check:
        argv = [sys.executable, *arguments]
        return Check(name, lambda: processes.call(argv, cwd=self.stack.root, check=False) == 0)

    def _compose_files(self, mode: str, topology: str, *, overrides: str = "") -> Check:
        """On the example's values, so that it needs no `.env`."""
        name = " ".join(filter(None, ("compose", mode, topology, overrides)))
        return Check(name, lambda: self._config_holds(mode, topology, overrides))

    def _config_holds(self, mode: str, topology: str, overrides: str) -> bool:
        path = self.stack.root / ".state" / "lint" / ".env"
        env_file.ensure(path, self.stack.root / ".env.example", given={"COMPOSE_PROJECT_NAME": "lint"})
        choice = {"MODE": mode, "TOPOLOGY": topology, "COMPOSE_PROJECT_NAME": "lint", "COMPOSE_OVERRIDES": overrides}
        stack = deployment.load(self.stack.root, env_path=path, environment=choice)
        compose = Compose(self.toolbox.compose(), stack, profiles=("*",))
        return compose.call(compose.argv("config", "--quiet"), check=False) == 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="no integration tests and no stack")
    parser.add_argument("selected", nargs="*", help="passed on to pytest: paths, -k expressions")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    toolbox = Toolbox(stack.root / ".tools")
    checks = Checks(stack, toolbox, ImageStore(stack, toolbox).ensure_tests())
    wanted = checks.linters()
    if arguments.verb == "test":
        wanted += checks.tests(quick=arguments.quick, selected=arguments.selected)
    report(run_all(wanted))
    return 0


def run_all(checks: Sequence[Check]) -> dict[str, bool]:
    """Run every check; returns name -> whether it held. One failure stops none of the others."""
    results = {}
    for check in checks:
        started = time.monotonic()
        console.say(f"== {check.name}")
        results[check.name] = check.holds()
        verdict = "ok" if results[check.name] else "FAILED"
        console.say(f"== {check.name}: {verdict} in {time.monotonic() - started:.1f} s")
    return results


def report(results: dict[str, bool]) -> None:
    """Say how many held; raise StackError with the names of those that did not."""
    failed = [name for name, held in results.items() if not held]
    if failed:
        raise StackError(
            f"{len(failed)} of {len(results)} checks failed: {', '.join(failed)}.", fix="read the output above"
        )
    console.say(f"All {len(results)} checks hold.")
