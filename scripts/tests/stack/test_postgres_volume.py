"""The Postgres volume: made with the locale and checksums that every image of it shares, refused by another major."""

import unittest
from typing import ClassVar

from scripts.stack import processes
from scripts.stack.errors import StackError
from scripts.stack.postgres import Session
from scripts.stack.waiting import wait_until
from scripts.tests.stack import surroundings
from scripts.tests.stack.surroundings import Surroundings


class PostgresVolume(unittest.TestCase):
    stack: ClassVar[Surroundings]

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = surroundings.create(topology="standalone")
        cls.addClassCleanup(cls.stack.remove)
        cls.stack.up(["postgres", "postgres-exporter"])

    def ask(self, query: str) -> str:
        user = self.stack.stack.value("POSTGRES_USER")
        return self.stack.containers.run_in("postgres", "psql", "-tAU", user, "-d", "postgres", "-c", query).strip()

    def test_is_made_with_the_builtin_locale_and_checksums(self) -> None:
        provider = self.ask("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = current_database()")
        self.assertEqual(provider, "b|C.UTF-8")
        self.assertEqual(self.ask("SHOW data_checksums"), "on")

    def test_keeps_its_promise_on_commit(self) -> None:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            with self.subTest(setting=name):
                self.assertEqual(self.ask(f"SHOW {name}"), "on")

    def test_the_exporter_sees_statistics_under_a_role_without_rights(self) -> None:
        self.assertEqual(self.ask("SELECT rolsuper FROM pg_roles WHERE rolname = 'exporter'"), "f")
        wait_until(
            lambda: "pg_up 1" in self.stack.containers.run_in("postgres-exporter", *METRICS),
            within=120,
            otherwise="postgres-exporter cannot log in",
        )

    def test_one_psql_answers_again_and_again_and_ends_at_an_error(self) -> None:
        session = Session(self.stack.stack)
        self.addCleanup(session.close)
        self.assertEqual(session.rows("SELECT :'name', 2;", name="o'clock"), ["o'clock|2"])
        self.assertEqual(session.rows("SELECT 1 WHERE false;"), [])
        self.assertEqual(session.rows("SELECT 3; SELECT 4;"), ["3", "4"])
        for question in ("SELECT nonsense;", "SELECT 5;"):
            with self.subTest(question=question), self.assertRaises(StackError):
                session.rows(question)

    def test_another_major_version_is_refused_with_the_command_that_migrates(self) -> None:
        version_file = "/var/lib/postgresql/data/PG_VERSION"
        right = self.stack.containers.run_in("postgres", "cat", version_file)
        container = self.stack.containers.ids("postgres")[0]
        self.stack.containers.run_in("postgres", "sh", "-c", f"echo 9 > {version_file}")
        try:
            self.stack.containers.stop("postgres")
            processes.read(["docker", "start", container])
            wait_until(lambda: "pg_dumpall" in logs(container), within=120, otherwise="the volume was not refused")
        finally:
            self.restore(version_file, right)
        self.stack.up(["postgres"])

    def restore(self, path: str, text: str) -> None:
        volume = f"{self.stack.stack.project}_postgres:/var/lib/postgresql/data"
        image = self.stack.stack.state["POSTGRES_IMAGE"]
        argv = ["docker", "run", "--rm", "--user", "999:999", "--volume", volume, "--entrypoint", "sh", image]
        self.stack.containers.stop("postgres")
        processes.read([*argv, "-c", f"echo {text.strip()} > {path}"])


METRICS = ("wget", "-q", "-O", "-", "http://127.0.0.1:9187/metrics")


def logs(container: str) -> str:
    return processes.read(["sh", "-c", f"docker logs --tail 20 {container} 2>&1"])


if __name__ == "__main__":
    unittest.main()
