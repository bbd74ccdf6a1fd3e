"""Makes the images of a stack present on the Engine: pulls them, or builds them where no registry answers."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

from scripts.stack import apt, base_image, console, env_file, images, processes
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.toolbox import Toolbox

#: Seconds that a registry has to answer in before it counts as absent.
REGISTRY_SECONDS: Final = 3.0

#: Seconds that the pull of one image may take.
_PULL_SECONDS: Final = 900.0

#: Newest images of one repository that are kept; older ones go unless a container uses them.
_KEPT_IMAGES: Final = 4

_UNTAGGED_APP: Final = "holdfast/app"
_CA_VARIABLES: Final = ("BUILD_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SYSTEM_CA: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_LOG_LINES_SHOWN: Final = 40


@dataclass(frozen=True)
class ImageStore:
    """The image step of one stack."""

    stack: Stack
    toolbox: Toolbox

    def ensure(self) -> Stack:
        """Make every image of the stack present; returns the stack with their names."""
        choice = self._made_present(self.choice)
        app = self._app_image(choice)
        # Apart from the others: a mistake in the application must not cancel them.
        if app.startswith(f"{_UNTAGGED_APP}:"):
            self._build(self._missing({"APP_IMAGE": app}), choice)
        return self.stack.with_images({**choice.images, **self._optional(), "APP_IMAGE": app})

    def ensure_tests(self) -> str:
        """Make the test image present; returns its name."""
        return self._ensure_one("TEST_IMAGE", images.test_image)

    def ensure_netfilter(self) -> str:
        """Make the image that cuts containers off present; returns its name."""
        return self._ensure_one("NETFILTER_IMAGE", images.netfilter_image)

    def ensure_skewed(self) -> str:
        """Make the stack's application with a clock that can be set present; returns its name."""
        base = self.stack.state["APP_IMAGE"]
        name = images.skewed_image(self.stack.root, base)
        self._build(self._missing({"SKEWED_IMAGE": name}), self.choice, {"SKEWED_BASE": base})
        return name

    def _ensure_one(self, variable: str, name_on: Callable[[Path, str], str]) -> str:
        choice = self.choice
        if choice.source == "official":
            self._pull({"PYTHON_IMAGE": choice.python_base})
        name = name_on(self.stack.root, choice.python_base)
        self._build(self._missing({variable: name}), choice)
        return name

    def check_buildable(self) -> None:
        """Raise StackError when stand-ins have to be built and this host lacks what that takes."""
        if self.choice.source == "stand-in" and not _is_present(self.choice.python_base):
            base_image.check_host(self.toolbox)

    @cached_property
    def choice(self) -> images.Choice:
        """Official images where they are or can be pulled, else stand-ins; says so when that is news."""
        wanted = images.checked_choice(self.stack.value("IMAGES"))
        official, standin = self._official(), self._standins()
        if wanted != "auto":
            return official if wanted == "pull" else standin
        if not self._missing(self._all_of(official)):
            return official
        if not self._missing(standin.images):
            return standin
        if self._registries_answer(official):
            return official
        console.say("No container registry answers: stand-ins are built from Debian packages and PyPI.")
        return standin

    def _made_present(self, choice: images.Choice) -> images.Choice:
        """Pull or build the third-party images; in `auto`, build what could not be pulled."""
        if choice.source == "stand-in":
            self._build(self._missing_standins(choice), choice)
            return choice
        try:
            self._pull(self._all_of(choice))
        except StackError as error:
            if self.stack.value("IMAGES") == "pull":
                raise
            console.warn(f"{error.what} Stand-ins are built instead.")
            return self._made_present(self._standins())
        self._pull_optional()
        return choice

    def _official(self) -> images.Choice:
        names = {variable: self.stack.value(variable) for variable in images.STANDINS}
        return images.Choice(names, self.stack.value("PYTHON_IMAGE"), "official")

    def _standins(self) -> images.Choice:
        root = self.stack.root
        base = images.base_image(apt.SUITE, _architecture())
        references = env_file.documented_defaults((root / ".env.example").read_text())
        replaced = images.replaced_by_operator(self.stack.values, references)
        return images.Choice({**images.standin_images(root, base), **replaced}, base, "stand-in")

    def _app_image(self, choice: images.Choice) -> str:
        """The name of what we build, unless the operator names an image of their own."""
        named = self.stack.value("APP_IMAGE")
        if named != _UNTAGGED_APP:
            return named
        return images.app_image(self.stack.root, choice.python_base, self.stack.value("DOMAIN_APPS"))

    def _all_of(self, choice: images.Choice) -> dict[str, str]:
        return {**choice.images, "PYTHON_IMAGE": choice.python_base}

    def _missing(self, wanted: Mapping[str, str]) -> dict[str, str]:
        return {variable: name for variable, name in wanted.items() if not _is_present(name)}

    def _missing_standins(self, choice: images.Choice) -> dict[str, str]:
        built = {name: image for name, image in choice.images.items() if image.startswith("holdfast/standin-")}
        return self._missing(built)

    def _optional(self) -> dict[str, str]:
        """Grafana where its image is present; else an empty name, and the profile stays off."""
        name = self.stack.value(images.OPTIONAL)
        return {images.OPTIONAL: name if _is_present(name) else ""}

    def _registries_answer(self, choice: images.Choice) -> bool:
        hosts = {images.registry_of(name) for name in self._missing(self._all_of(choice)).values()}
        mirrors = _engine_mirrors()
        return all(_answers(host, mirrors) for host in hosts)

    def _pull(self, wanted: Mapping[str, str]) -> None:
        for name in self._missing(wanted).values():
            with console.step(f"Pulling {name}"):
                processes.read(["docker", "pull", "--quiet", name], timeout=_PULL_SECONDS)

    def _pull_optional(self) -> None:
        name = self.stack.value(images.OPTIONAL)
        if not _is_present(name) and not processes.succeeds(["docker", "pull", "--quiet", name], timeout=_PULL_SECONDS):
            console.warn(f"{name} could not be pulled.")

    def _build(
        self, wanted: Mapping[str, str], choice: images.Choice, arguments: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        if not wanted:
            return
        if choice.source == "stand-in" and not _is_present(choice.python_base):
            base_image.build(self.toolbox, choice.python_base)
        services = [_build_service(variable) for variable in wanted]
        with console.step(f"Building {', '.join(services)}"):
            self._run_build(services, {**wanted, **arguments, **self._build_environment(choice)})
        for repository in {name.partition(":")[0] for name in wanted.values()}:
            _drop_old(repository)

    def _build_environment(self, choice: images.Choice) -> dict[str, str]:
        return {
            "STANDIN_BASE_IMAGE": choice.python_base,
            "PYTHON_IMAGE": choice.python_base,
            "BUILD_CA_FILE": str(ca_bundle({**os.environ, **self._named_bundle()})),
            "REVISION": _revision(self.stack.root),
            "DOMAIN_APPS": self.stack.value("DOMAIN_APPS"),
            "DOCKER_BUILDKIT": "1",
            "COMPOSE_PARALLEL_LIMIT": "4",
        }

    def _named_bundle(self) -> dict[str, str]:
        named = self.stack.value("BUILD_CA_FILE")
        if named and not Path(named).is_file():
            raise StackError(
                f"BUILD_CA_FILE={named} is no file.", fix=f"correct BUILD_CA_FILE in {self.stack.env_path}"
            )
        return {"BUILD_CA_FILE": named} if named else {}

    def _run_build(self, services: Iterable[str], variables: Mapping[str, str]) -> None:
        root = self.stack.root
        log = root / ".state" / "build.log"
        log.parent.mkdir(exist_ok=True)
        argv = [*self.toolbox.compose(), *build_arguments(root, services)]
        environment = {**_without_compose(os.environ), **apt.proxy_environment(), **variables}
        with log.open("w") as output:
            status = processes.log(argv, output, env=environment, cwd=root)
        if status != 0:
            console.warn("\n".join(log.read_text().splitlines()[-_LOG_LINES_SHOWN:]))
            raise StackError("An image could not be built.", fix=f"read {log}, then run the same command again")


def build_arguments(root: Path, services: Iterable[str]) -> list[str]:
    """Arguments for Compose; plain `docker build` needs buildx for build secrets, Compose drives BuildKit itself."""
    file = str(root / "compose.build.yaml")
    return ["--project-directory", str(root), "--file", file, "--progress", "plain", "build", *services]


def ca_bundle(environment: Mapping[str, str]) -> Path:
    """The CA bundle that builds trust: the one the operator's shell names, else the host's."""
    named = (Path(environment[name]) for name in _CA_VARIABLES if environment.get(name))
    for path in (*named, _SYSTEM_CA):
        if path.is_file():
            return path
    raise StackError("This host has no CA bundle for the image builds.", fix="sudo apt-get install ca-certificates")


def _build_service(variable: str) -> str:
    return images.STANDINS.get(variable) or variable.removesuffix("_IMAGE").lower()


def _is_present(name: str) -> bool:
    return bool(name) and processes.succeeds(["docker", "image", "inspect", "--format", "{{.Id}}", name])


def _architecture() -> str:
    return processes.read(["docker", "version", "--format", "{{.Server.Arch}}"]).strip()


def _engine_mirrors() -> list[str]:
    answer = processes.read(["docker", "info", "--format", "{{json .RegistryConfig.Mirrors}}"])
    return json.loads(answer) or []


def _answers(host: str, mirrors: Iterable[str]) -> bool:
    bases = [f"https://{host}"]
    if host == "registry-1.docker.io":
        bases += [mirror.rstrip("/") for mirror in mirrors]
    return any(_speaks_registry(f"{base}/v2/") for base in bases)


def _speaks_registry(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=REGISTRY_SECONDS) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        # 401 is how a registry asks for a token; anything else comes from something in between.
        return error.code == 401
    except OSError:
        return False


def _revision(root: Path) -> str:
    if not shutil.which("git"):
        return "unknown"
    argv = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _without_compose(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("COMPOSE_")}


def _drop_old(repository: str) -> None:
    """Remove all but the newest images of one repository. The Engine itself refuses those that a container uses."""
    listed = processes.read(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository])
    for name in listed.split()[_KEPT_IMAGES:]:
        processes.succeeds(["docker", "image", "rm", name])
