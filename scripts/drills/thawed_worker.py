"""A worker is frozen inside a job until another has finished it, then thawed: its late finish changes nothing.

First ndvi.compute on a generated scene, whose result and files are compared byte by byte; then probe.cpu, whose effect
is counted. One more container of worker-cpu runs meanwhile, so that there is another to take the job.

python3 -m scripts.drills thawed-worker [--edge 5000] [--seed N]
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.drills import arguments as drill
from scripts.drills import exposition, raster
from scripts.drills.truth import Truth
from scripts.drills.verdict import Verdict
from scripts.stack.api_client import ApiClient, Json
from scripts.stack.compose import Compose
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.toolbox import Toolbox
from scripts.stack.up import profiles
from scripts.stack.waiting import wait_until

SERVICE: Final = "worker-cpu"
STALE_FINISHES: Final = "jobs_stale_finish_total"

#: Milliseconds of the probe's work: long enough to freeze its worker in the middle.
PROBE_MS: Final = 5000
#: A scene whose job ends before the freeze is followed by one of twice the edge, this often.
TRIES: Final = 3

SCALE_SECONDS: Final = 120
CLAIM_SECONDS: Final = 30.0
#: Seconds until the other worker has finished: the lease (30 s), a tick, the work itself.
FINISH_SECONDS: Final = 120.0
#: Seconds until the thawed worker has tried to finish, or has been told to stop and tried to say so.
STALE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Frozen:
    """A container that holds a job's lease and does not know how time passes."""

    job_id: str
    container: Json
    stale_finishes: float  #: that it had counted before


def run(stack: Stack, *, edge: int, seed: int, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    verdict = Verdict(
        f"a frozen {SERVICE} thaws after its job was finished elsewhere ({stack.mode}): nothing changes (seed {seed})",
        judges_time=judges_time,
    )
    round_ = _Round(stack, verdict)
    with one_more(stack):
        round_.run(lambda attempt: _submit_ndvi(stack, edge=edge << attempt, seed=seed), "ndvi.compute")
        job_id = round_.run(lambda _attempt: _submit_probe(stack), "probe.cpu")
    applied = Truth(stack).applied([job_id])
    verdict.check((applied.once, applied.twice) == (1, 0), "probe.cpu was counted once")
    return verdict.status()


@contextmanager
def one_more(stack: Stack) -> Iterator[None]:
    """One more container of the service while it lasts."""
    compose = Compose(Toolbox(stack.root / ".tools").compose(), stack, profiles=profiles(stack))
    containers = Containers(stack.project)
    before = len(containers.ids(SERVICE, running=True))
    try:
        _scale(compose, before + 1, "--wait", f"--wait-timeout={SCALE_SECONDS}")
        yield
    finally:
        containers.recover(SERVICE)  # thawed first: Compose cannot stop a frozen one
        _scale(compose, before)


def _scale(compose: Compose, count: int, *options: str) -> None:
    argv = compose.argv("up", "--detach", "--no-deps", "--no-recreate", f"--scale={SERVICE}={count}", *options, SERVICE)
    if compose.call_quietly(argv) != 0:
        raise StackError(f"There could not be {count} containers of {SERVICE}.", fix=f"read {compose.log_path}")


class _Round:
    """Freeze, let another finish, thaw, compare."""

    def __init__(self, stack: Stack, verdict: Verdict) -> None:
        self._truth = Truth(stack)
        self._client = ApiClient.of(stack)
        self._containers = Containers(stack.project)
        self._verdict = verdict

    def run(self, submit: Callable[[int], str], what: str) -> str:
        """The job's id."""
        frozen = self._freeze(submit, what)
        try:
            done = self._client.wait_for_job(frozen.job_id, within=FINISH_SECONDS)
            before = self._everything(frozen.job_id)
        finally:
            self._containers.recover(SERVICE)
        self._verdict.check(
            done["attempts"] == 2,
            f"{what}: finished elsewhere by attempt {done['attempts']} while its worker was frozen",
        )
        late = self._late_finish(frozen)
        self._verdict.check(late > 0, f"{what}: after the thaw its late finish was refused at the fence ({late:.0f})")
        self._verdict.check(
            self._everything(frozen.job_id) == before,
            f"{what}: result, timeline and {len(done['files'])} files are what they were, byte by byte",
        )
        return frozen.job_id

    def _freeze(self, submit: Callable[[int], str], what: str) -> Frozen:
        for attempt in range(TRIES):
            job_id = submit(attempt)
            holder = wait_until(
                lambda: self._truth.holder(job_id),  # noqa: B023 - called before the next turn
                within=CLAIM_SECONDS,
                otherwise=f"no worker took {what} {job_id}",
                fix=f"make logs SERVICE={SERVICE}",
                pause=0.05,
            )
            container = self._container_of(holder)
            counted = exposition.counted(container, STALE_FINISHES)
            self._containers.freeze(container["Id"])
            if self._truth.holder(job_id) == holder:
                self._verdict.note(f"       {what}: {container['Name'][1:]} frozen in the middle of {job_id}")
                return Frozen(job_id, container, counted)
            self._containers.recover(SERVICE)
        raise StackError(
            f"{what} ended before its worker was frozen, {TRIES} times.",
            fix="python3 -m scripts.drills thawed-worker --edge 10000",
        )

    def _container_of(self, holder: str) -> Json:
        """The container whose worker calls itself so: its host name and a random part."""
        running = self._containers.inspect(SERVICE, running=True)
        return next(one for one in running if holder.startswith(one["Config"]["Hostname"]))

    def _late_finish(self, frozen: Frozen) -> float:
        return wait_until(
            lambda: exposition.counted(frozen.container, STALE_FINISHES) - frozen.stale_finishes,
            within=STALE_SECONDS,
            otherwise="the thawed worker neither finished late nor was stopped",
            fix=f"make logs SERVICE={SERVICE}",
        )

    def _everything(self, job_id: str) -> str:
        """The job as the API shows it, its row's token and keys, and a digest of each file."""
        job = self._client.get(f"/jobs/{job_id}")
        with tempfile.TemporaryDirectory() as folder:
            for file in job["files"]:
                path = Path(folder) / file["name"]
                self._client.download(file["url"], path)
                file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return json.dumps([job, self._truth.fence(job_id)], sort_keys=True)


def _submit_ndvi(stack: Stack, *, edge: int, seed: int) -> str:
    client = ApiClient.of(stack)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.tif"
        raster.write(path, edge=edge, seed=seed)
        scene = client.upload("/scenes", path)
    return _submit(client, "ndvi.compute", {"scene": scene["id"], "red": 1, "nir": 2})


def _submit_probe(stack: Stack) -> str:
    return _submit(ApiClient.of(stack), "probe.cpu", {"tag": drill.new_tag(), "work_ms": PROBE_MS})


def _submit(client: ApiClient, kind: str, params: dict[str, Any]) -> str:
    return str(client.post("/jobs", {"kind": kind, "farm_id": "drill", "params": params, "force": True})["id"])


def main(argv: list[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=0, rate=0)
    parser.add_argument("--edge", type=int, default=5000, help="pixels of the scene's edge")
    drill.add_seed(parser)
    chosen = parser.parse_args(argv)
    return run(drill.stack_of(chosen), edge=chosen.edge, seed=chosen.seed)
