"""What every drill takes from its command line; JOBS= and RATE= of make arrive as environment variables."""

import argparse
import os
import uuid
from pathlib import Path

from scripts.drills.load import Load, Target
from scripts.stack import deployment
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

ROOT = Path(__file__).resolve().parents[2]
JOBS_PATH = "/api/v1/jobs"


def parser(description: str, *, jobs: int, rate: float) -> argparse.ArgumentParser:
    """--env-file, --jobs, --rate; a drill adds its own."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--env-file", type=Path, help="a stack other than that of .env")
    made.add_argument("--jobs", type=int, default=int(os.environ.get("JOBS") or jobs), help="requests")
    made.add_argument("--rate", type=float, default=float(os.environ.get("RATE") or rate), help="requests a second")
    return made


def stack_of(arguments: argparse.Namespace) -> Stack:
    """The stack to break. Raises StackError when it does not run: a drill would only find it broken."""
    stack = deployment.load(ROOT, env_path=arguments.env_file.resolve() if arguments.env_file else None)
    running = Containers(stack.project)
    if stopped := [service for service in ("web", "postgres") if not running.ids(service, running=True)]:
        raise StackError(f"{stack.project} does not run: no container of {', '.join(stopped)}.", fix="make up")
    return stack


def target_of(stack: Stack) -> Target:
    """The stack's API, with its first key."""
    headers = {"Authorization": f"Bearer {stack.value('HOLDFAST_API_KEY')}"}
    return Target(stack.value("PUBLISH_ADDRESS"), int(stack.value("WEB_PORT")), headers)


def new_tag() -> str:
    """Tells this run's jobs from all others."""
    return f"drill-{uuid.uuid4().hex[:12]}"


def probe_load(stack: Stack, *, tag: str, count: int, rate: float) -> Load:
    """`count` different probe.fast jobs."""

    def body(index: int) -> dict[str, object]:
        return {"kind": "probe.fast", "farm_id": "drill", "params": {"tag": f"{tag}-{index}"}}

    return Load(target_of(stack), JOBS_PATH, make_body=body, count=count, rate=rate)
