"""Decisions of preflight, on hosts made up here."""

import os
import socket
import tempfile
import unittest
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from unittest import mock

from scripts.stack import deployment, host, preflight, processes
from scripts.stack.errors import StackError
from scripts.stack.host import Engine, Host, Network
from scripts.stack.image_store import ImageStore
from scripts.stack.toolbox import Toolbox, parsed_version

ENGINE = Engine(
    version=(20, 10, 24),
    os="linux",
    architecture="x86_64",
    cpus=2,
    memory_bytes=8 * 2**30,
    data_folder=Path("/var/lib/docker"),
    clock_skew_seconds=0.0,
)
HOST = Host(
    engine=ENGINE,
    networks=(),
    routes=(),
    available_memory_bytes=6 * 2**30,
    free_disk_bytes=50 * 2**30,
    now=preflight.CLOCK_FLOOR + 1,
    stack_is_up=False,
    port_holders={},
)


class Decisions(unittest.TestCase):
    def setUp(self) -> None:
        # What whoever runs the tests has exported must not change what is said here.
        bare = mock.patch.dict(os.environ, clear=True)
        bare.start()
        self.addCleanup(bare.stop)

    def test_the_oldest_supported_engine_passes(self) -> None:
        self.assertEqual(preflight.engine_problems(replace(ENGINE, version=(20, 10, 0))), [])

    def test_an_old_engine_on_a_strange_machine_gives_two_problems(self) -> None:
        problems = preflight.engine_problems(replace(ENGINE, version=(19, 3, 9), architecture="riscv64"))
        self.assertEqual(len(problems), 2)
        self.assertIn("19.3.9", problems[0].what)

    def test_a_clock_that_was_never_set_is_named(self) -> None:
        self.assertIn("1970-01-01", preflight.clock_problems(0.0, 0.0)[0].what)

    def test_clocks_that_differ_are_a_problem_in_both_directions(self) -> None:
        for skew in (-3.0, 3.0):
            self.assertEqual(len(preflight.clock_problems(HOST.now, skew)), 1)

    def test_little_memory_is_a_problem_only_before_the_start(self) -> None:
        small = replace(HOST, available_memory_bytes=2**30)
        self.assertEqual(len(preflight.room_problems(small)), 1)
        self.assertEqual(preflight.room_problems(replace(small, stack_is_up=True)), [])

    def test_a_full_disk_is_a_problem_even_for_a_running_stack(self) -> None:
        full = replace(HOST, free_disk_bytes=2**20, stack_is_up=True)
        self.assertIn("/var/lib/docker", preflight.room_problems(full)[0].what)

    def test_a_taken_port_names_its_variable_and_its_holder(self) -> None:
        problems = preflight.port_problems({"WEB_PORT": 8000, "GRAFANA_PORT": 3000}, {8000: "nginx (pid 7)"}, ".env")
        self.assertEqual([problem.what for problem in problems], ["Port 8000 (WEB_PORT) is held by nginx (pid 7)."])
        self.assertEqual(problems[0].fix, "echo WEB_PORT=8001 >> .env")

    def test_two_taken_ports_are_not_offered_the_same_free_one(self) -> None:
        ports = {"WEB_PORT": 8000, "PROMETHEUS_PORT": 8000}
        problems = preflight.port_problems(ports, {8000: "nginx (pid 7)"}, ".env")
        fixes = ["echo WEB_PORT=8001 >> .env", "echo PROMETHEUS_PORT=8002 >> .env"]
        self.assertEqual([one.fix for one in problems], fixes)

    def test_a_port_that_two_variables_name_is_a_problem(self) -> None:
        problems = preflight.port_problems({"WEB_PORT": 8000, "GRAFANA_PORT": 8000}, {}, ".env")
        self.assertEqual([one.what for one in problems], ["Port 8000 (GRAFANA_PORT) is WEB_PORT's too."])

    def test_the_highest_port_is_offered_a_lower_one(self) -> None:
        problems = preflight.port_problems({"WEB_PORT": 65535}, {65535: "nginx (pid 7)"}, ".env")
        self.assertEqual(problems[0].fix, "echo WEB_PORT=1024 >> .env")

    def test_an_address_of_another_host_is_a_problem(self) -> None:
        self.assertEqual(preflight.address_problems("127.0.0.1", HOST, ".env"), [])
        problems = preflight.address_problems("1.2.3.4", replace(HOST, has_address=False), ".env")
        self.assertEqual(problems[0].what, "PUBLISH_ADDRESS=1.2.3.4 is no address of this host.")

    def test_a_variable_of_the_shell_is_changed_in_the_shell(self) -> None:
        with mock.patch.dict(os.environ, {"WEB_PORT": "8000"}):
            problems = preflight.port_problems({"WEB_PORT": 8000}, {8000: "nginx (pid 7)"}, ".env")
        self.assertEqual(problems[0].fix, "export WEB_PORT=8001")

    def test_a_subnet_of_another_network_is_named_with_a_free_one(self) -> None:
        other = Network("office", IPv4Network("10.92.0.0/16"), "office")
        problems = preflight.subnet_problems("10.92.92", "holdfast", replace(HOST, networks=(other,)), ".env")
        self.assertIn("Docker network office (10.92.0.0/16)", problems[0].what)
        self.assertIn("SUBNET_PREFIX=10.93.92", problems[0].fix)

    def test_our_own_network_and_its_route_are_no_clash(self) -> None:
        subnet = IPv4Network("10.92.92.0/24")
        ours = replace(HOST, networks=(Network("x", subnet, "holdfast"),), routes=(Network("br-1", subnet),))
        self.assertEqual(preflight.subnet_problems("10.92.92", "holdfast", ours, ".env"), [])

    def test_a_vpn_route_is_a_clash(self) -> None:
        found = replace(HOST, routes=(Network("tun0", IPv4Network("10.0.0.0/8")),))
        problems = preflight.subnet_problems("10.92.92", "holdfast", found, ".env")
        self.assertIn("tun0", problems[0].what)

    def test_a_prefix_that_is_no_address_is_refused(self) -> None:
        self.assertEqual(len(preflight.subnet_problems("10.92", "holdfast", HOST, ".env")), 1)
        self.assertEqual(len(preflight.subnet_problems("10.92.300", "holdfast", HOST, ".env")), 1)

    def test_a_public_prefix_is_refused(self) -> None:
        problems = preflight.subnet_problems("8.8.8", "holdfast", HOST, ".env")
        self.assertIn("SUBNET_PREFIX=8.8.8 is public", problems[0].what)

    def test_cpu_limits_above_the_engine_count_are_named(self) -> None:
        problems = preflight.cpu_problems({"WEB_CPUS": "4", "LOOP_CPUS": "0.5", "OTHER": "9"}, 2, ".env")
        self.assertEqual([problem.what for problem in problems], ["WEB_CPUS=4 is more than the Engine's 2 CPUs."])

    def test_a_patience_of_the_sentinels_that_is_no_number_or_too_short_is_refused(self) -> None:
        self.assertEqual(preflight.patience_problems("500", ".env"), [])
        for value in ("1s", "", "-1", "499"):
            with self.subTest(value=value):
                [problem] = preflight.patience_problems(value, ".env")
                self.assertIn(f"SENTINEL_DOWN_AFTER_MS={value} ", problem.what)
                self.assertEqual(problem.fix, "echo SENTINEL_DOWN_AFTER_MS=1000 >> .env")

    def test_all_problems_are_reported_at_once(self) -> None:
        error = preflight.failure([preflight.Problem("One.", "a"), preflight.Problem("Two.", "b")])
        self.assertIn("2 reasons", error.what)
        for text in ("1. One.", "next: a", "2. Two.", "next: b"):
            self.assertIn(text, error.what)


class WholeCheck(unittest.TestCase):
    def test_an_engine_that_is_down_does_not_hide_a_missing_compose(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / ".env.example").write_text(
                "COMPOSE_PROJECT_NAME=x\nPUBLISH_ADDRESS=127.0.0.1\nWEB_PORT=1\nPROMETHEUS_PORT=2\n"
                "ALERTMANAGER_PORT=3\nGRAFANA_PORT=no\n"
            )
            stack = deployment.load(root, environment={})
            down = mock.patch.object(host, "read", side_effect=StackError("Engine is down.", fix="start it"))
            bare = mock.patch.object(Toolbox, "compose", side_effect=StackError("No Compose.", fix="install it"))
            mute = mock.patch.object(processes, "succeeds", return_value=False)
            with down, bare, mute, self.assertRaises(StackError) as caught:
                preflight.check(ImageStore(stack, Toolbox(root)))
        self.assertIn("Engine is down.", caught.exception.what)
        self.assertIn("No Compose.", caught.exception.what)


class Reading(unittest.TestCase):
    def test_reads_routes_without_the_default_one(self) -> None:
        table = (
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
            "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
            "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        )
        self.assertEqual(host.parsed_routes(table), (Network("docker0", IPv4Network("172.17.0.0/16")),))

    def test_reads_available_memory(self) -> None:
        self.assertEqual(host.available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), 2048 * 1024)
        self.assertIsNone(host.available_memory(""))

    def test_finds_this_process_as_the_holder_of_its_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            tables = Path("/proc/net/tcp").read_text()
            self.assertEqual(len(host.listening_inodes(tables, server.getsockname()[1])), 1)

    def test_reads_versions_with_and_without_decoration(self) -> None:
        self.assertEqual(parsed_version("v2.26.1-4"), (2, 26, 1))
        self.assertEqual(parsed_version("5.0.0"), (5, 0, 0))
        self.assertEqual(parsed_version("20.10.24+dfsg1"), (20, 10, 24))
        self.assertIsNone(parsed_version("unknown"))
