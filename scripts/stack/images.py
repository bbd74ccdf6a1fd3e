"""Which images a stack runs, decided from names, files and what is already there. Pure: nothing here builds or pulls.

Two kinds keep the same contract: the official images, and stand-ins built from Debian packages for hosts that no
registry answers. What we build is tagged with a hash of its inputs, so a tag that exists is current, and several
clones on one host never overwrite each other's images.
"""

import fnmatch
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.stack.errors import StackError

CHOICES: Final = ("auto", "pull", "build")

#: Variable that names the image -> service in compose.build.yaml and folder in services/.
STANDINS: Final[Mapping[str, str]] = {
    "REDIS_IMAGE": "redis",
    "POSTGRES_IMAGE": "postgres",
    "PROMETHEUS_IMAGE": "prometheus",
    "ALERTMANAGER_IMAGE": "alertmanager",
    "REDIS_EXPORTER_IMAGE": "redis-exporter",
    "POSTGRES_EXPORTER_IMAGE": "postgres-exporter",
}

#: In neither Debian nor PyPI: without its image the stack runs without it.
OPTIONAL: Final = "GRAFANA_IMAGE"

#: What the stand-ins' and the application's base holds. busybox brings the wget that health checks call.
BASE_PACKAGES: Final = ("busybox", "ca-certificates", "python3", "python3-venv")

#: Repository of the application with a clock that can be set.
SKEWED: Final = "holdfast/skewed"

_TAG_LENGTH: Final = 12


@dataclass(frozen=True)
class Choice:
    """Where the third-party images come from."""

    images: Mapping[str, str]  #: variable -> image name
    python_base: str  #: what the application image starts from
    source: str  #: "official" or "stand-in"


def content_tag(root: Path, paths: Iterable[Path], *extra: str) -> str:
    """A hash over names and contents of `paths`, and over `extra`; the same files give the same tag in every clone."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = path.stat().st_mode & 0o100
        digest.update(f"{path.relative_to(root)} {executable} {content}\n".encode())
    for text in extra:
        digest.update(f"{text}\n".encode())
    return digest.hexdigest()[:_TAG_LENGTH]


def files_below(folder: Path, *, ignored: Collection[str] = ()) -> list[Path]:
    """Regular files below `folder`; a file or directory whose name or path from the root matches is left out."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(_is_ignored(part, folder, path, ignored) for part in path.relative_to(folder).parts)
    ]


def ignored_names(dockerignore: str) -> list[str]:
    """The exclusions of .dockerignore, as names (`**/x` -> `x`) or as paths from the root (`app/static`)."""
    lines = (line.strip() for line in dockerignore.splitlines())
    return [line.removeprefix("**/") for line in lines if line and line != "*" and line[0] not in "#!"]


def app_files(root: Path) -> list[Path]:
    """What the application image is made from; its tests stay outside."""
    ignored = [*ignored_names((root / ".dockerignore").read_text()), "app/tests"]
    return [root / "services/app/Dockerfile", root / ".dockerignore", *files_below(root / "app", ignored=ignored)]


def test_files(root: Path) -> list[Path]:
    """What the test image is made from: packages, no code."""
    return [root / "services/app/Dockerfile", root / "app/pyproject.toml", root / "app/uv.lock"]


def base_image(suite: str, architecture: str) -> str:
    """The stand-in base: a minimal Debian with Python."""
    text = f"{suite} {architecture} {' '.join(BASE_PACKAGES)}"
    return f"holdfast/standin-base:{suite}-{hashlib.sha256(text.encode()).hexdigest()[:_TAG_LENGTH]}"


def standin_images(root: Path, base: str) -> dict[str, str]:
    """Variable -> name of the stand-in built from the present files on `base`."""
    return {
        variable: f"holdfast/standin-{name}:{content_tag(root, _standin_files(root, name), base)}"
        for variable, name in STANDINS.items()
    }


def app_image(root: Path, python_base: str, domain_apps: str) -> str:
    """`domain_apps`: DOMAIN_APPS, because the image carries the static files of those apps."""
    return f"holdfast/app:{content_tag(root, app_files(root), f'{python_base} {domain_apps}')}"


def test_image(root: Path, python_base: str) -> str:
    return f"holdfast/test:{content_tag(root, test_files(root), python_base)}"


def netfilter_image(root: Path, base: str) -> str:
    """What cuts containers off: no part of a stack, built when a drill needs it."""
    files = files_below(root / "services" / "netfilter")
    return f"holdfast/netfilter:{content_tag(root, files, base)}"


def skewed_image(root: Path, app: str) -> str:
    """The application `app` with a clock that a fault can set: no part of a stack, built when chaos needs it."""
    return f"{SKEWED}:{content_tag(root, files_below(root / 'services' / 'skewed'), app)}"


def replaced_by_operator(values: Mapping[str, str], references: Mapping[str, str]) -> dict[str, str]:
    """Images that the operator named themselves: these are used as they are, never replaced by a stand-in."""
    return {name: values[name] for name in STANDINS if values[name] != references[name]}


def registry_of(image: str) -> str:
    """Host that serves `image`: "redis:8" -> "registry-1.docker.io", "quay.io/x/y:1" -> "quay.io"."""
    first, slash, _ = image.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if is_host else "registry-1.docker.io"


def checked_choice(text: str) -> str:
    if text not in CHOICES:
        raise StackError(f"IMAGES={text} is none of {', '.join(CHOICES)}.", fix="make up IMAGES=auto")
    return text


def _standin_files(root: Path, name: str) -> list[Path]:
    folder = root / "services" / name
    return [path for path in (folder / "Dockerfile", folder / "docker-entrypoint.sh") if path.is_file()]


def _is_ignored(part: str, folder: Path, path: Path, ignored: Collection[str]) -> bool:
    from_root = path.relative_to(folder.parent).as_posix()
    return any(
        from_root == name or from_root.startswith(f"{name}/") if "/" in name else fnmatch.fnmatch(part, name)
        for name in ignored
    )
