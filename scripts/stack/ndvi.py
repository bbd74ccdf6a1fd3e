"""`ndvi FILE --red 1 --nir 4`: the vegetation index of a GeoTIFF through the running stack, start to end."""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.stack import console
from scripts.stack.api_client import ApiClient, Json
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

#: Seconds a computation may take before the command stops waiting; the job goes on.
WITHIN_SECONDS: Final = 900.0
_USAGE: Final = "make ndvi FILE=scene.tif RED=1 NIR=4"
_FIGURES: Final = ("mean", "std", "min", "p10", "p25", "p50", "p75", "p90", "max")
_REDRAW_SECONDS: Final = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # All optional, so that what is missing is answered with the whole command instead of argparse's usage.
    parser.add_argument("file", nargs="?", help="a GeoTIFF with red and near infrared")
    parser.add_argument("--red", nargs="?", help="number of the red band, from 1")
    parser.add_argument("--nir", nargs="?", help="number of the near infrared band, from 1")
    parser.add_argument("--within", type=float, default=WITHIN_SECONDS, help="seconds to wait for the result (900)")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    """Upload, submit, wait, download; prints the statistics and the paths of the outputs."""
    file = _readable(arguments.file)
    red, nir = _band("RED", arguments.red), _band("NIR", arguments.nir)
    client = ApiClient.of(stack)
    console.say(f"Uploading {file.name} ({file.stat().st_size / 1e6:,.1f} MB) to {stack.web_url}")
    scene = client.upload("/scenes", file, progress=_Percent())
    console.say(
        f"Scene {scene['id']}: {scene['width']} x {scene['height']}, {scene['bands']} bands of {scene['dtype']}"
    )
    job = _computed(client, {"scene": scene["id"], "red": red, "nir": nir}, arguments.within)
    _report(job["result"]["statistics"])
    folder = stack.root / "outputs" / job["id"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, link in job["result"]["files"].items():
        client.download(link, folder / name)
        console.say(f"  {folder / name}")
    return 0


def _computed(client: ApiClient, params: Mapping[str, Any], within: float) -> Json:
    job_id = client.post("/jobs", {"kind": "ndvi.compute", "params": params})["id"]
    began = time.monotonic()
    return client.wait_for_job(
        job_id,
        within=within,
        seen=lambda status: console.say(f"Job {job_id} {status:<9} after {time.monotonic() - began:.1f} s"),
    )


def _readable(given: str | None) -> Path:
    if not given:
        raise StackError("FILE is missing.", fix=_USAGE)
    file = Path(given).expanduser()
    if not file.is_file():
        raise StackError(f"FILE={given} is no file.", fix=_USAGE)
    return file


def _band(name: str, given: str | None) -> int:
    if not given or not given.isdigit() or int(given) < 1:
        raise StackError(f"{name}={given or ''} is no band: bands are counted from 1.", fix=_USAGE)
    return int(given)


def _report(statistics: Mapping[str, Any]) -> None:
    console.say(f"  {'pixels':<8}{statistics['pixels']:>14,}")
    console.say(f"  {'count':<8}{statistics['count']:>14,}  valid share {statistics['valid_share']:.4f}")
    for name in _FIGURES:
        value = statistics[name]
        console.say(f"  {name:<8}{'-' if value is None else format(value, '.6f'):>14}")


class _Percent:
    """Upload progress on a terminal, at most five times a second; nothing elsewhere."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, sent: int, size: int) -> None:
        if not sys.stdout.isatty() or (time.monotonic() < self._next and sent < size):
            return
        self._next = time.monotonic() + _REDRAW_SECONDS
        end = "\n" if sent >= size else ""
        sys.stdout.write(f"\r\033[K{100 * sent // max(size, 1)} % sent{end}")
        sys.stdout.flush()
