"""`up`: preflight, images, secrets, containers, one real job, URLs."""

import argparse
import os
from typing import Final

from scripts.stack import console, deployment, env_file, images, preflight, processes, services, start_record
from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.image_store import ImageStore
from scripts.stack.start_record import StartRecord
from scripts.stack.toolbox import Toolbox

#: Seconds until every service has to be healthy; a cold start measured below 60.
WAIT_SECONDS: Final = 480

#: What the shell exported for these at the first start is kept in `.env`: a later command of another shell would
#: otherwise mean another stack. MODE and TOPOLOGY are remembered with every start.
KEPT: Final = ("COMPOSE_PROJECT_NAME", "SUBNET_PREFIX", "PUBLISH_ADDRESS", *preflight.PORTS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-job", action="store_true", help="do not send a job through the stack")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    up(stack, job=not arguments.no_job)
    return 0


def up(stack: Stack, *, job: bool = True) -> Stack:
    """Bring `stack` up as its mode and topology say; returns it with the names of its images. Safe to repeat."""
    toolbox = Toolbox(stack.root / ".tools")
    console.say(f"{stack.project}: MODE={stack.mode} TOPOLOGY={stack.topology}")
    store = ImageStore(stack, toolbox)
    preflight.check(store)
    ready = _with_secrets(store.ensure())
    ready.save_state()
    compose = Compose(toolbox.compose(), ready, profiles=profiles(ready))
    _start(compose)
    if job:
        _one_job(ready)
    _report(ready)
    return ready


def profiles(stack: Stack) -> tuple[str, ...]:
    """Grafana runs where its image is."""
    return ("grafana",) if stack.state.get(images.OPTIONAL) else ()


def urls(stack: Stack) -> list[str]:
    """What an operator opens next."""
    address = stack.value("PUBLISH_ADDRESS")
    lines = [
        f"API           {stack.web_url}/api/docs",
        f"Prometheus    http://{address}:{stack.value('PROMETHEUS_PORT')}",
        f"Alertmanager  http://{address}:{stack.value('ALERTMANAGER_PORT')}",
    ]
    if profiles(stack):
        lines.append(f"Grafana       http://{address}:{stack.value('GRAFANA_PORT')}")
    return lines


def _with_secrets(stack: Stack) -> Stack:
    """`.env` written or topped up, secret files derived from it; the stack as it reads afterwards."""
    example = stack.root / ".env.example"
    names = env_file.secret_names(example.read_text())
    kept = env_file.remembered_secrets(names, stack.secrets_dir)
    if not stack.env_path.exists() and not kept:
        _refuse_foreign_data(stack)
    if sentence := env_file.ensure(
        stack.env_path,
        example,
        given={name: os.environ[name] for name in KEPT if os.environ.get(name)},
        make_secret=lambda name: kept.get(name) or env_file.new_secret(name),
    ):
        console.say(sentence)
    for name, meant in env_file.misspelt(env_file.parse(stack.env_path.read_text()), example.read_text()).items():
        console.warn(f"{stack.env_path}: nothing reads {name}. Did you mean {meant}?")
    fresh = deployment.load(stack.root, env_path=stack.env_path).with_images(stack.state)
    env_file.write_secret_files(fresh.values, names, fresh.secrets_dir)
    return fresh


def _refuse_foreign_data(stack: Stack) -> None:
    """New passwords over old data would end in a stack that cannot log in to its own database."""
    volume = f"{stack.project}_postgres"
    if processes.succeeds(["docker", "volume", "inspect", volume]):
        raise StackError(
            f"{stack.env_path} is missing, but the volume {volume} holds data that its passwords open.",
            fix=f"put {stack.env_path} back, or give the data up: make down DATA=delete",
        )


def _start(compose: Compose) -> None:
    path = start_record.record_path(compose)
    last, now = StartRecord.load(path), StartRecord.of(compose)
    if start_record.is_unchanged(now, last, services.listed(compose)):
        console.say("Every service runs, and nothing has changed since it was started.")
        return
    with console.step("Starting the services"):
        if stale := now.stale_services(last):
            compose.call_quietly(compose.recreate(stale))
        status = compose.call_quietly(compose.up(wait_seconds=WAIT_SECONDS))
    if status != 0:
        raise _not_healthy(compose)
    StartRecord.of(compose).save(path)


def _not_healthy(compose: Compose) -> StackError:
    culprits = services.culprits(services.listed(compose))
    for service in culprits:
        console.warn(f"--- {service.sentence()}")
        console.warn(services.last_log_lines(compose, service).rstrip())
    if not culprits:
        return StackError("The stack did not start.", fix=f"read {compose.log_path}, then: make up")
    names = ", ".join(service.name for service in culprits)
    return StackError(f"The stack did not become healthy: {names}.", fix=f"make logs SERVICE={culprits[0].name}")


def _one_job(stack: Stack) -> None:
    # Imported here: `make down` on a broken clone must not need the API client.
    from scripts.stack import smoke

    with console.step("One real job through the stack"):
        sentence = smoke.one_job(stack)
    console.say(sentence)


def _report(stack: Stack) -> None:
    if not profiles(stack):
        console.say("Grafana's image is not on this host: the stack runs without it (make up IMAGES=pull gets it).")
    console.say(f"Healthy. MODE={stack.mode} TOPOLOGY={stack.topology}")
    for line in urls(stack):
        console.say(f"  {line}")
    console.say(f"  API key       HOLDFAST_API_KEY in {stack.env_path}")
