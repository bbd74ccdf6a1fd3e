"""Three Redis and three Sentinels of their own, configured as the stack's: only the application is compared."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from scripts.stack import console, deployment, env_file, processes, restart
from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.image_store import ImageStore
from scripts.stack.redis_nodes import REDIS, SENTINELS, RedisNodes
from scripts.stack.toolbox import Toolbox
from scripts.stack.waiting import wait_until

#: First three bytes of the throw-away project's /24: STOCK_SUBNET_PREFIX moves it.
SUBNET_PREFIX: Final = "10.92.91"
SIX: Final = (*REDIS, *SENTINELS)

UP_SECONDS: Final = 240.0
WHOLE_SECONDS: Final = 60.0


@contextmanager
def six_nodes(root: Path, project: str) -> Iterator[tuple[Stack, str]]:
    """The stack while it lasts, whole, and the name of the test image; removed with its volumes at the end."""
    stack, image = _described(root, project)
    compose = Compose(Toolbox(root / ".tools").compose(), stack)
    try:
        with console.step(f"Starting {project}: three Redis, three Sentinels"):
            _run(compose, [*compose.argv("up", "--detach"), *SIX])
            wait_until(
                lambda: restart.is_in_step(RedisNodes(stack)),
                within=WHOLE_SECONDS,
                otherwise=f"the six nodes of {project} do not agree",
                fix=f"docker network ls; another STOCK_SUBNET_PREFIX than {stack.value('SUBNET_PREFIX')}",
            )
        yield stack, image
    finally:
        _run(compose, compose.down(volumes=True))
        shutil.rmtree(stack.state_path.parent, ignore_errors=True)


def network(stack: Stack) -> str:
    """The network of the nodes, as Docker calls it."""
    return f"{stack.project}_data"


def _described(root: Path, project: str) -> tuple[Stack, str]:
    """Env file, secrets and images in place; nothing is started."""
    env_path = root / ".state" / project / "env" / ".env"
    given = {
        "COMPOSE_PROJECT_NAME": project,
        "SUBNET_PREFIX": os.environ.get("STOCK_SUBNET_PREFIX") or SUBNET_PREFIX,
        "HEALTH_INTERVAL": "60s",
    }
    env_file.ensure(env_path, root / ".env.example", given=given)
    # The shell may name another stack: this one is what its own file says.
    stack = replace(deployment.load(root, env_path=env_path, environment={}), topology="sentinel")
    store = ImageStore(stack, Toolbox(root / ".tools"))
    stack = store.ensure()
    names = env_file.secret_names((root / ".env.example").read_text())
    env_file.write_secret_files(stack.values, names, stack.secrets_dir)
    stack.save_state()
    return stack, store.ensure_tests()


def _run(compose: Compose, argv: list[str]) -> None:
    try:
        processes.read(argv, env=compose.environment(), cwd=compose.stack.root, timeout=UP_SECONDS)
    except StackError as error:
        raise StackError(f"{compose.stack.project}: {error.what}", fix="make ps") from error
