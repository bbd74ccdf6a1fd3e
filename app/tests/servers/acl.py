"""The stack's own ACL templates, filled with test passwords: tests run under the rules that production has."""

import hashlib
import os
import re
from pathlib import Path

#: The folder that the stack mounts; beside app/ in the repository, elsewhere in the test image.
CONFIG = Path(os.environ.get("HOLDFAST_REPOSITORY", Path(__file__).resolve().parents[3])) / "config"
REDIS_TEMPLATE = CONFIG / "redis" / "users.acl.template"
SENTINEL_TEMPLATE = CONFIG / "sentinel" / "users.acl.template"

#: user name -> password, on Redis and on Sentinel.
PASSWORDS = {
    user: f"test-{user}-p@ss:word/%" for user in ("app", "replication", "sentinel", "exporter", "operator", "health")
}

_PLACEHOLDER = re.compile(r"@@([A-Z]+)_SHA256@@")


def render(template: Path) -> str:
    """The ACL file: each `@@APP_SHA256@@` becomes the SHA-256 of that user's password."""

    def digest(match: re.Match[str]) -> str:
        return hashlib.sha256(PASSWORDS[match[1].lower()].encode()).hexdigest()

    lines = template.read_text().splitlines()
    # Redis takes no comments in an ACL file.
    rules = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return _PLACEHOLDER.sub(digest, "\n".join(rules)) + "\n"
