"""`smoke`: one job through every pool. `up` sends one real job with the same means."""

import argparse
import time
from typing import Final

from scripts.stack import console
from scripts.stack.api_client import ApiClient, Json, wait_for_follow_up
from scripts.stack.deployment import Stack

POOLS: Final = ("fast", "cpu", "io")
#: Seconds one job may take from submit to its end.
WITHIN_SECONDS: Final = 180.0
#: Days before today in which the sample archive surely has a clear scene of every field.
_DAYS: Final = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--within", type=float, default=WITHIN_SECONDS, help="seconds each job may take (180)")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    """One probe per pool, side by side; each must succeed."""
    client = ApiClient.of(stack)
    began = time.monotonic()
    jobs = {pool: _submit(client, f"probe.{pool}", {"tag": "smoke"}) for pool in POOLS}
    for pool, job_id in jobs.items():
        job = client.wait_for_job(job_id, within=arguments.within)
        console.say(f"{pool:<5} {job['status']}  {job['kind']:<10} {job_id}  {time.monotonic() - began:.2f} s")
    return 0


def one_job(stack: Stack) -> str:
    """A real job through the whole stack; the sentence that says what it found. Raises StackError."""
    client = ApiClient.of(stack)
    if "ndvi" not in stack.value("DOMAIN_APPS").split(","):
        job = client.wait_for_job(_submit(client, "probe.cpu", {"tag": "up"}), within=WITHIN_SECONDS)
        return f"  {job['kind']} {job['id']} {job['status']}"
    return f"  {_field_chain(client)['result']['sentence']}"


def _field_chain(client: ApiClient) -> Json:
    """A field fetched (io), computed (cpu) and summarised (fast); the last job of the chain."""
    farm_id = f"smoke-{time.time_ns() // 1_000_000}"
    today = time.time()
    params = {"start": _day(today - _DAYS * 86_400), "end": _day(today)}
    field = client.wait_for_job(_submit(client, "ndvi.field", params, farm_id=farm_id), within=WITHIN_SECONDS)
    wait_for_follow_up(client, "ndvi.compute", field["farm_id"], within=WITHIN_SECONDS)
    return wait_for_follow_up(client, "ndvi.summary", field["farm_id"], within=WITHIN_SECONDS)


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _submit(client: ApiClient, kind: str, params: dict[str, str], *, farm_id: str = "") -> str:
    # force: an equal request from an earlier run is another job's, and this one is to be seen running.
    answer = client.post("/jobs", {"kind": kind, "farm_id": farm_id, "params": params, "force": True})
    return str(answer["id"])
