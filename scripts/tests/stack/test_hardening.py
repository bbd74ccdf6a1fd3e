"""What the Engine says of every running container: hardened, limited, healthy, and without a secret in sight.

HOLDFAST_HARDENING_ENV names the env file of a stack that runs already; without it the test stack is started.
"""

import ipaddress
import os
import re
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from scripts.stack import deployment, env_file
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.tests.stack import surroundings

#: Ends after its work.
ONE_SHOT = {"migrate"}

#: Not limited in CPU on purpose: throttled, they look dead to Sentinel.
SHARES_INSTEAD_OF_LIMIT = re.compile(r"(redis|sentinel)-\d")

#: Never published: the data network.
DATA = re.compile(r"(redis|sentinel)-\d|postgres|redis-exporter|postgres-exporter")

#: Probes a second over all services; each costs 0.07 core-seconds.
PROBE_BUDGET = 1.5

#: Processes that a probe must not start: they cost more than what they watch.
DEAR_PROBES = {"python", "python3", "ps", "celery"}


class Hardening(unittest.TestCase):
    stack: ClassVar[Stack]
    containers: ClassVar[list[dict[str, Any]]]

    @classmethod
    def setUpClass(cls) -> None:
        if named := os.environ.get("HOLDFAST_HARDENING_ENV"):
            cls.stack = deployment.load(surroundings.ROOT, env_path=Path(named).resolve())
        else:
            # Intervals as delivered: the probe budget is part of the test.
            started = surroundings.create(topology="sentinel").with_values(HEALTH_INTERVAL="15s")
            cls.addClassCleanup(started.remove)
            started.up()
            cls.stack = started.stack
        cls.containers = Containers(cls.stack.project).inspect()

    def each(self, *, long_running: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
        for container in self.containers:
            name = container["Config"]["Labels"]["com.docker.compose.service"]
            if long_running and name in ONE_SHOT:
                continue
            yield name, container

    def test_every_service_of_the_topology_is_there(self) -> None:
        found = {name for name, _ in self.each()}
        self.assertLessEqual({"web", "worker-fast", "worker-cpu", "worker-io", "bridge", "sweeper", "exporter"}, found)
        self.assertLessEqual({"postgres", "prometheus", "alertmanager", "redis-exporter", "postgres-exporter"}, found)
        self.assertLessEqual({f"{kind}-{n}" for kind in ("redis", "sentinel") for n in (1, 2, 3)}, found)

    def test_no_privilege_is_left(self) -> None:
        for name, container in self.each():
            with self.subTest(service=name):
                host = container["HostConfig"]
                self.assertEqual([name.upper() for name in host["CapDrop"] or ()], ["ALL"])
                self.assertFalse(host["CapAdd"])
                self.assertIn("no-new-privileges:true", host["SecurityOpt"] or ())
                self.assertFalse(host["Privileged"])
                self.assertTrue(host["ReadonlyRootfs"])
                self.assertTrue(host["Init"])

    def test_nobody_is_root(self) -> None:
        for name, container in self.each():
            with self.subTest(service=name):
                user, _, group = container["Config"]["User"].partition(":")
                self.assertTrue(user.isdecimal() and int(user) > 0, container["Config"]["User"])
                self.assertTrue(group.isdecimal() and int(group) > 0, container["Config"]["User"])

    def test_memory_processes_and_cpu_are_limited(self) -> None:
        for name, container in self.each():
            with self.subTest(service=name):
                host = container["HostConfig"]
                self.assertGreater(host["Memory"], 0)
                self.assertGreater(host["PidsLimit"] or 0, 0)
                if SHARES_INSTEAD_OF_LIMIT.fullmatch(name):
                    self.assertEqual(host["NanoCpus"], 0)
                    self.assertGreater(host["CpuShares"], 1024)
                else:
                    self.assertGreater(host["NanoCpus"], 0)
                    self.assertLessEqual(host["NanoCpus"], 10**9)

    def test_all_memory_limits_together_fit_a_small_machine(self) -> None:
        total = sum(container["HostConfig"]["Memory"] for _, container in self.each(long_running=True))
        self.assertLessEqual(total, 6 * 2**30)

    def test_what_runs_long_restarts_and_is_probed(self) -> None:
        for name, container in self.each(long_running=True):
            with self.subTest(service=name):
                self.assertEqual(container["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped")
                self.assertEqual(container["State"].get("Health", {}).get("Status"), "healthy")
                words = {Path(word).name for word in container["Config"]["Healthcheck"]["Test"]}
                self.assertFalse(words & DEAR_PROBES, words)

    def test_probes_stay_in_their_budget(self) -> None:
        intervals = [one["Config"]["Healthcheck"]["Interval"] / 1e9 for _, one in self.each(long_running=True)]
        self.assertLessEqual(sum(1 / seconds for seconds in intervals), PROBE_BUDGET)

    def test_logs_are_rotated(self) -> None:
        for name, container in self.each():
            with self.subTest(service=name):
                log = container["HostConfig"]["LogConfig"]
                self.assertEqual(log["Type"], "json-file")
                self.assertTrue(log["Config"].get("max-size") and log["Config"].get("max-file"))

    def test_stopping_takes_thirty_seconds_at_most(self) -> None:
        for name, container in self.each():
            with self.subTest(service=name):
                self.assertEqual(container["Config"].get("StopTimeout"), 30)

    def test_no_secret_stands_in_the_description_of_a_container(self) -> None:
        example = (surroundings.ROOT / ".env.example").read_text()
        secrets = {name: self.stack.value(name) for name in env_file.secret_names(example)}
        self.assertGreaterEqual(len(secrets), 10)
        for name, container in self.each():
            with self.subTest(service=name):
                described = "\n".join((*container["Config"]["Env"], *container["Args"], str(container["Config"])))
                for name, value in secrets.items():
                    self.assertNotIn(value, described, f"{name} is visible in docker inspect")

    def test_the_application_image_leaves_its_tests_behind(self) -> None:
        """And with them what plants defects."""
        for service in ("web", "worker-fast", "bridge", "sweeper"):
            with self.subTest(service=service):
                found = Containers(self.stack.project).run_in(service, "ls", "/app").split()
                self.assertIn("manage.py", found)
                self.assertNotIn("tests", found)

    def test_nothing_is_published_beyond_loopback(self) -> None:
        for name, container in self.each():
            with self.subTest(service=name):
                bindings = [one for found in (container["HostConfig"]["PortBindings"] or {}).values() for one in found]
                for binding in bindings:
                    self.assertTrue(ipaddress.ip_address(binding["HostIp"]).is_loopback, binding)
                if DATA.fullmatch(name):
                    self.assertFalse(bindings, "the data network is published")

    def test_no_container_holds_the_docker_socket_or_the_hosts_namespaces(self) -> None:
        for name, container in self.each():
            with self.subTest(service=name):
                host = container["HostConfig"]
                sources = [mount.get("Source", "") for mount in container["Mounts"]]
                self.assertFalse([source for source in sources if source.endswith("docker.sock")])
                self.assertNotIn("host", (host["NetworkMode"], host["PidMode"], host["IpcMode"]))

    def test_what_is_mounted_from_the_host_is_read_only(self) -> None:
        for name, container in self.each():
            with self.subTest(service=name):
                for mount in container["Mounts"]:
                    if mount["Type"] == "bind":
                        self.assertFalse(mount["RW"], mount["Destination"])


if __name__ == "__main__":
    unittest.main()
