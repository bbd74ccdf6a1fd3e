"""The web service as production runs it: gunicorn with its own configuration, over given Postgres and Redis."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers.process import ServerProcess, free_port, hand_over, private_directory

APP_ROOT = Path(__file__).resolve().parents[2]

#: The first key of every test service; all scopes.
API_KEY = "hf_testkey1_" + "5" * 64


class WebProcess(ServerProcess):
    """gunicorn on a loopback port. `environment` is what production reads from its own."""

    start_seconds = 180.0

    def __init__(self, *, parent: Path, port: int, environment: Mapping[str, str], name: str = "web") -> None:
        super().__init__(name, directory=private_directory(parent, name), port=port)
        folders = {f"{name.upper()}_DIR": self.directory / name for name in ("files", "scratch", "static")}
        self.environment = {
            **os.environ,
            **environment,
            **{name: str(folder) for name, folder in folders.items()},
            "METRICS_PORT": str(free_port()),  # two processes of pytest may each run a web service
            "HOLDFAST_API_KEY": API_KEY,
        }
        for folder in folders.values():
            folder.mkdir()
            hand_over(folder)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def command(self) -> Sequence[str]:
        gunicorn = (sys.executable, "-m", "gunicorn", "-c", "project/gunicorn.py", "-b", f"{self.host}:{self.port}")
        # ServerProcess starts servers in their own folder.
        return ("env", "-C", str(APP_ROOT), *self._assignments(), *gunicorn, "project.wsgi")

    def manage(self, *arguments: str) -> str:
        """Output of `manage.py …` in this service's environment; raises with its error text."""
        done = subprocess.run(
            (sys.executable, "manage.py", *arguments),
            cwd=APP_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout

    def prepare(self) -> None:
        """What `migrate` and the image build do before the service starts."""
        self.manage("migrate_and_seed", "--verbosity", "0")
        self.manage("collectstatic", "--no-input", "--verbosity", "0")

    def is_ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/livez", timeout=2) as answer:
            return bool(answer.status == 200)

    def _assignments(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.environment.items()]
