"""`.env` and its example: read, written once with generated secrets, topped up, never overwritten.

`.env.example` is the schema. A line `NAME=value` is copied; a line `# NAME=value` documents a default and is not.
"""

import base64
import difflib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from scripts.stack.errors import StackError

#: What the example carries in the place of a secret; every start refuses it.
PLACEHOLDER: Final = "change-me"

_ASSIGNMENT: Final = re.compile(r"^(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)$")
_DOCUMENTED: Final = re.compile(r"^# (?P<name>[A-Z][A-Z0-9_]*)=(?P<value>\S*)$")


def new_api_key() -> str:
    """`hf_<id>_<secret>`: eight characters of [a-z0-9] to find the key by, then 256 random bits as hex."""
    key_id = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    return f"hf_{key_id}_{secrets.token_hex(32)}"


def new_webhook_secret() -> str:
    """`whsec_<base64>`, as Standard Webhooks spells secrets: 48 random bytes, so that no padding is needed."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(48)).decode()}"


#: Secrets of a form of their own.
_MAKERS: Final[Mapping[str, Callable[[], str]]] = {
    "HOLDFAST_API_KEY": new_api_key,
    "WEBHOOK_SECRET": new_webhook_secret,
}


def new_secret(name: str) -> str:
    """A fresh value for a secret: 256 random bits or more, without a character that needs quoting anywhere."""
    make = _MAKERS.get(name)
    return make() if make else secrets.token_hex(32)


def parse(text: str) -> dict[str, str]:
    """Assignments of an env file. Quotes around a value are dropped; comments and blank lines are skipped."""
    values = {}
    for line in text.splitlines():
        if match := _ASSIGNMENT.match(line.strip()):
            values[match["name"]] = _unquoted(match["value"].strip())
    return values


def secret_names(example: str) -> list[str]:
    """The variables that the example fills with a placeholder: these are generated, and mounted as files."""
    return [name for name, value in parse(example).items() if value.startswith(PLACEHOLDER)]


def documented_defaults(example: str) -> dict[str, str]:
    """The defaults that the example shows in comments (`# NAME=value`)."""
    matches = (_DOCUMENTED.match(line) for line in example.splitlines())
    return {match["name"]: match["value"] for match in matches if match}


def misspelt(values: Iterable[str], example: str) -> dict[str, str]:
    """Names that the example does not know but that look like one of its own -> that one. Others may be a fork's."""
    known = {*parse(example), *documented_defaults(example)}
    known |= {f"{name}_FILE" for name in known}
    close = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.85) for name in values if name not in known}
    return {name: matches[0] for name, matches in close.items() if matches}


def first_version(example: str, *, given: Mapping[str, str], make_secret: Callable[[str], str] = new_secret) -> str:
    """The text of a new `.env`: the example with secrets generated and `given` values in place."""
    lines = [_filled(line, given, make_secret) for line in example.splitlines()]
    present = parse("\n".join(lines))
    lines += [f"{name}={value}" for name, value in given.items() if name not in present]
    return "\n".join(lines) + "\n"


def missing_lines(current: str, example: str, *, make_secret: Callable[[str], str] = new_secret) -> list[str]:
    """Lines to append so that `current` names everything the example assigns; existing lines stay as they are."""
    present = parse(current)
    wanted = parse(first_version(example, given={}, make_secret=make_secret))
    return [f"{name}={value}" for name, value in wanted.items() if name not in present]


def placeholders(values: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Which of the secrets `names` are empty or still the example's placeholder."""
    return [name for name in names if not values.get(name) or values[name].startswith(PLACEHOLDER)]


def ensure(
    path: Path,
    example_path: Path,
    *,
    given: Mapping[str, str] | None = None,
    make_secret: Callable[[str], str] = new_secret,
) -> str | None:
    """Write `.env` if it is missing, append what it lacks, refuse placeholders. Returns a sentence when it changed."""
    example = example_path.read_text()
    sentence = None
    if not path.exists():
        _write_private(path, first_version(example, given=given or {}, make_secret=make_secret))
        sentence = f"Wrote {path} with generated secrets."
    elif lines := missing_lines(path.read_text(), example, make_secret=make_secret):
        _append(path, lines)
        sentence = f"Added to {path}: {', '.join(line.split('=')[0] for line in lines)}."
    # An operator's own first line may have made it readable for all.
    path.chmod(0o600)
    if names := placeholders(parse(path.read_text()), secret_names(example)):
        raise StackError(
            f"{path} still holds placeholders for {', '.join(names)}.",
            fix=f"delete those lines from {path} (new values are generated), then run the same command again",
        )
    return sentence


def rewrite(path: Path, values: Mapping[str, str]) -> None:
    """Replaces assignments in an env file; its mode stays."""
    lines = [line for line in path.read_text().splitlines() if line.split("=")[0] not in values]
    path.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in values.items())]) + "\n")


def write_secret_files(values: Mapping[str, str], names: Iterable[str], directory: Path) -> None:
    """One file per secret, called like its variable in lower case. The directory is closed (0700) and the files are
    readable (0444): containers run under several users and a bind mount keeps the mode of the file alone."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name in names:
        _write_secret(directory / name.lower(), values[name])


def remembered_secrets(names: Iterable[str], directory: Path) -> dict[str, str]:
    """What an earlier start wrote: `.env` may be gone while the data still knows these passwords."""
    paths = {name: directory / name.lower() for name in names}
    return {name: path.read_text() for name, path in paths.items() if path.is_file()}


def _write_secret(path: Path, value: str) -> None:
    if path.is_file() and path.read_text() == value:
        return
    # In place, not by rename: a running container's mount follows the inode.
    if path.exists():
        path.chmod(0o644)
    path.write_text(value)
    path.chmod(0o444)


def _filled(line: str, given: Mapping[str, str], make_secret: Callable[[str], str]) -> str:
    match = _ASSIGNMENT.match(line)
    if not match:
        return line
    name, value = match["name"], match["value"]
    if name in given:
        return f"{name}={given[name]}"
    return f"{name}={make_secret(name)}" if value.startswith(PLACEHOLDER) else line


def _append(path: Path, lines: list[str]) -> None:
    text = path.read_text()
    separator = "" if text.endswith("\n") or not text else "\n"
    path.write_text(text + separator + "\n".join(lines) + "\n")


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
