"""Is the stack whole? A drill on one that is not would blame its own fault for somebody else's."""

from collections.abc import Sequence
from typing import Any, Final

from scripts.stack.api_client import ApiClient
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import RedisNodes
from scripts.stack.smoke import POOLS
from scripts.stack.waiting import wait_until

#: Seconds that one job of each pool may take through a whole stack.
JOB_SECONDS: Final = 60.0

Json = dict[str, Any]


def require(stack: Stack, *, within: float = 0.0) -> None:
    """Every container well, the Redis nodes agreed, one job of each pool done. Raises StackError with the reason."""
    seen = [""]

    def is_whole() -> bool:
        seen[0] = _complaint(stack)
        return not seen[0]

    try:
        wait_until(is_whole, within=within, otherwise="", pause=1.0)
    except StackError:
        said = f"{stack.project} is not whole: {seen[0]}. The drill was not started."
        raise StackError(said, fix=remedy(seen[0])) from None
    _one_job_per_pool(stack)


def remedy(complaint: str) -> str:
    """The command that heals it; Compose starts what is stopped and leaves frozen what is frozen."""
    frozen = [phrase.removesuffix(" is paused") for phrase in complaint.split("; ") if phrase.endswith(" is paused")]
    return f'make compose DO="unpause {" ".join(frozen)}"' if frozen else "make up"


def _complaint(stack: Stack) -> str:
    return "; ".join(ill_containers(Containers(stack.project).inspect())) or _redis_complaint(stack)


def ill_containers(inspected: Sequence[Json]) -> list[str]:
    """One phrase per container that is not as `make up` left it."""
    phrases = []
    for container in inspected:
        state = container["State"]
        name = container["Config"]["Labels"]["com.docker.compose.service"]
        health = state.get("Health", {}).get("Status", "healthy")
        if state["Status"] == "exited" and state["ExitCode"] == 0 and _is_one_shot(container):
            continue
        if state["Status"] != "running":  # a paused one keeps the health it had
            phrases.append(f"{name} is {state['Status']}")
        elif health != "healthy":
            phrases.append(f"{name} is {health}")
    return phrases


def _is_one_shot(container: Json) -> bool:
    return bool(container["HostConfig"]["RestartPolicy"]["Name"] in {"", "no"})


def _redis_complaint(stack: Stack) -> str:
    nodes = RedisNodes(stack)
    if stack.topology == "sentinel":
        return "" if nodes.is_whole() else "redis-1..3 and sentinel-1..3 do not agree on one primary with two replicas"
    return "" if nodes.role("redis-1") == "master" else "redis-1 does not answer as a primary"


def _one_job_per_pool(stack: Stack) -> None:
    client = ApiClient.of(stack)
    for pool in POOLS:
        body = {"kind": f"probe.{pool}", "farm_id": "drill", "params": {"tag": "steady-state"}, "force": True}
        try:
            client.wait_for_job(client.post("/jobs", body)["id"], within=JOB_SECONDS)
        except StackError as error:
            raise StackError(
                f"pool {pool} does no jobs: {error.what} The drill was not started.", fix=error.fix
            ) from None
