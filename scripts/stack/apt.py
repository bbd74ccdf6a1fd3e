"""Debian packages as files: fetched with an apt configuration of our own and unpacked, never installed.

Lists, cache and state live in the project's tool folder, so neither root nor the host's apt state is touched.
The mirror is the host's own.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.stack import processes
from scripts.stack.errors import StackError

#: The release whose packages the project is made from.
SUITE: Final = "trixie"
#: Where a Debian host keeps the keys of its archive.
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FETCH_SECONDS: Final = 300.0
_ONE_LINE: Final = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)")


@dataclass(frozen=True)
class Mirrors:
    """Where the host's apt takes its packages from. None where its sources name no such suite."""

    main: str | None
    security: str | None


def host_is(distribution: str, os_release: str) -> bool:
    """Whether /etc/os-release names this distribution or one that is like it."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    return distribution in names


def mirrors(source_files: Mapping[str, str], codename: str) -> Mirrors:
    """The mirrors in the texts of apt's source files (name -> text), both in one-line and in deb822 format."""
    pairs = [pair for name, text in sorted(source_files.items()) for pair in _entries(name, text)]
    main = next((uri for uri, suite in pairs if suite == codename), None)
    security = next((uri for uri, suite in pairs if suite == f"{codename}-security"), None)
    return Mirrors(main=main, security=security)


def suite_lines(found: Mirrors, *, signed_by: str | None = None) -> list[str]:
    """One-line sources of SUITE on those mirrors."""
    option = f"[signed-by={signed_by}] " if signed_by else ""
    lines = [f"deb {option}{found.main} {SUITE} main"]
    if found.security:
        lines.append(f"deb {option}{found.security} {SUITE}-security main")
    return lines


def host_mirrors() -> Mirrors:
    """The mirrors of a Debian host; (None, None) elsewhere, where another distribution's mirror is of no use."""
    release = _os_release()
    if not re.search(r"^ID=\"?debian\"?$", release, re.MULTILINE):
        return Mirrors(main=None, security=None)
    codename = re.search(r"^VERSION_CODENAME=\"?(\w+)", release, re.MULTILINE)
    return mirrors(_source_files(), codename[1] if codename else "stable")


def is_available() -> bool:
    """Whether this host has what fetching and unpacking takes."""
    return all(shutil.which(name) for name in ("apt-get", "apt-config", "dpkg-deb"))


def fetch(package: str, *, into: Path, folder: Path) -> Path:
    """Download `package` and unpack it below `into`; `folder` keeps apt's lists. Returns `into`.

    On Debian the package comes from SUITE, elsewhere (Ubuntu) from the host's own sources.
    """
    config = _prepared(folder)
    environment = {"APT_CONFIG": str(config), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    archives = folder / "archives"
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir(parents=True)
    _apt(["apt-get", "-qq", "update"], environment, archives)
    _apt(["apt-get", "-qq", "download", package], environment, archives)
    into.mkdir(parents=True, exist_ok=True)
    for archive in archives.glob("*.deb"):
        processes.read(["dpkg-deb", "--extract", str(archive), str(into)])
    shutil.rmtree(archives)
    return into


def proxy_environment() -> dict[str, str]:
    """The proxy of the host's apt as environment variables, for tools that bring their own apt configuration."""
    if not shutil.which("apt-config"):
        return {}
    names = {"http_proxy": "Acquire::http::Proxy", "https_proxy": "Acquire::https::Proxy"}
    dump = processes.read(["apt-config", "dump"])
    found = {name: re.search(rf'^{key} "(.+)";$', dump, re.MULTILINE) for name, key in names.items()}
    return {name: match[1] for name, match in found.items() if match}


def _prepared(folder: Path) -> Path:
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # Another distribution's own sources stay in force; on Debian only SUITE is read.
    found = host_mirrors()
    sources = folder / "sources.list"
    if found.main:
        sources.write_text("\n".join(suite_lines(found, signed_by=str(KEYRING))) + "\n")
    config = folder / "apt.conf"
    config.write_text("\n".join(_config_lines(folder, sources if found.main else None)) + "\n")
    return config


def _config_lines(folder: Path, sources: Path | None) -> list[str]:
    acquire = [
        line for line in processes.read(["apt-config", "dump"]).splitlines() if re.match(r"Acquire::(https?|ftp)", line)
    ]
    own = {
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::parts": "/dev/null",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
    }
    if sources:
        own |= {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null"}
    return acquire + [f'{key} "{value}";' for key, value in own.items()]


def _apt(argv: list[str], environment: dict[str, str], directory: Path) -> None:
    done = subprocess.run(
        argv, env=environment, cwd=directory, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
    )
    if done.returncode != 0:
        raise StackError(
            f"`{' '.join(argv)}` failed: {done.stderr.strip()}",
            fix="sudo apt-get install --only-upgrade debian-archive-keyring, and check the network",
        )


def _entries(name: str, text: str) -> list[tuple[str, str]]:
    if name.endswith(".sources"):
        return [pair for stanza in re.split(r"\n\s*\n", text) for pair in _deb822_entries(stanza)]
    matches = (_ONE_LINE.match(line.strip()) for line in text.splitlines())
    return [(match["uri"].rstrip("/"), match["suite"]) for match in matches if match]


def _deb822_entries(stanza: str) -> list[tuple[str, str]]:
    lines = [line for line in stanza.splitlines() if line and not line.startswith("#")]
    fields = {key.strip().lower(): value.split() for key, _, value in (line.partition(":") for line in lines)}
    if fields.get("enabled") == ["no"]:
        return []
    return [(uri.rstrip("/"), suite) for uri in fields.get("uris", []) for suite in fields.get("suites", [])]


def _source_files() -> dict[str, str]:
    folder = Path("/etc/apt")
    paths = [folder / "sources.list", *folder.glob("sources.list.d/*.list"), *folder.glob("sources.list.d/*.sources")]
    return {path.name: path.read_text() for path in paths if path.is_file()}


def _os_release() -> str:
    path = Path("/etc/os-release")
    return path.read_text() if path.is_file() else ""
