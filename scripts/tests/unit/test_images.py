"""Which images, under which tags, from where."""

import tempfile
import unittest
from pathlib import Path

from scripts.stack import apt, base_image, env_file, image_store, images
from scripts.stack.errors import StackError

ROOT = Path(__file__).resolve().parents[3]


class Tags(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for name, text in {
            "services/app/Dockerfile": "FROM x",
            ".dockerignore": "*\n!app\n**/__pycache__\n**/*.pyc\napp/static\n",
            "app/pyproject.toml": "[project]",
            "app/uv.lock": "",
            "app/web.py": "pass",
        }.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_the_same_files_give_the_same_tag(self) -> None:
        self.assertEqual(images.app_image(self.root, "base", "ndvi"), images.app_image(self.root, "base", "ndvi"))

    def test_a_code_change_gives_another_tag(self) -> None:
        before = images.app_image(self.root, "base", "ndvi")
        self.write("app/web.py", "print()")
        self.assertNotEqual(images.app_image(self.root, "base", "ndvi"), before)

    def test_another_base_gives_another_tag(self) -> None:
        self.assertNotEqual(images.app_image(self.root, "a", "ndvi"), images.app_image(self.root, "b", "ndvi"))

    def test_the_static_files_of_the_domain_apps_are_part_of_the_image(self) -> None:
        self.assertNotEqual(images.app_image(self.root, "base", "ndvi"), images.app_image(self.root, "base", ""))

    def test_what_the_build_ignores_does_not_count(self) -> None:
        before = images.app_image(self.root, "base", "ndvi")
        for name in ("app/__pycache__/web.py", "app/web.pyc", "app/static/site.css", "app/tests/test_web.py"):
            self.write(name, "noise")
        self.assertEqual(images.app_image(self.root, "base", "ndvi"), before)

    def test_code_leaves_the_test_image_alone_and_the_lock_does_not(self) -> None:
        before = images.test_image(self.root, "base")
        self.write("app/web.py", "print()")
        self.assertEqual(images.test_image(self.root, "base"), before)
        self.write("app/uv.lock", "more")
        self.assertNotEqual(images.test_image(self.root, "base"), before)

    def test_an_entrypoint_is_part_of_its_stand_in(self) -> None:
        for name in images.STANDINS.values():
            self.write(f"services/{name}/Dockerfile", "FROM x")
        before = images.standin_images(self.root, "base")
        self.write("services/redis/docker-entrypoint.sh", "exec")
        after = images.standin_images(self.root, "base")
        self.assertNotEqual(after["REDIS_IMAGE"], before["REDIS_IMAGE"])
        self.assertEqual(after["POSTGRES_IMAGE"], before["POSTGRES_IMAGE"])


class Names(unittest.TestCase):
    def test_finds_the_registry_of_a_name(self) -> None:
        expected = {
            "redis:8.0.5": "registry-1.docker.io",
            "prom/prometheus:v2": "registry-1.docker.io",
            "quay.io/a/b:1": "quay.io",
            "localhost/a": "localhost",
            "mirror:5000/redis": "mirror:5000",
        }
        self.assertEqual({name: images.registry_of(name) for name in expected}, expected)

    def test_an_image_of_the_operator_is_not_replaced(self) -> None:
        references = dict.fromkeys(images.STANDINS, "official:1")
        values = {**references, "REDIS_IMAGE": "mine:2"}
        self.assertEqual(images.replaced_by_operator(values, references), {"REDIS_IMAGE": "mine:2"})

    def test_an_unknown_source_is_refused(self) -> None:
        with self.assertRaises(StackError):
            images.checked_choice("download")

    def test_the_example_pins_every_image_to_a_version(self) -> None:
        defaults = env_file.documented_defaults((ROOT / ".env.example").read_text())
        for variable in (*images.STANDINS, images.OPTIONAL):
            self.assertRegex(defaults[variable], r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", variable)

    def test_every_stand_in_has_a_folder_and_a_build_definition(self) -> None:
        definitions = (ROOT / "compose.build.yaml").read_text()
        for variable, name in images.STANDINS.items():
            self.assertTrue((ROOT / "services" / name / "Dockerfile").is_file(), name)
            self.assertIn(f"image: ${{{variable}:-}}", definitions)

    def test_no_image_definition_pulls_a_frontend(self) -> None:
        for path in (ROOT / "services").glob("*/Dockerfile"):
            self.assertNotIn("# syntax=", path.read_text(), str(path))


class BuildArguments(unittest.TestCase):
    def test_builds_through_compose_with_plain_progress(self) -> None:
        argv = image_store.build_arguments(Path("/r"), ["app"])
        self.assertEqual(argv[-4:], ["--progress", "plain", "build", "app"])

    def test_trusts_the_bundle_that_the_shell_names(self) -> None:
        with tempfile.NamedTemporaryFile() as bundle:
            self.assertEqual(image_store.ca_bundle({"SSL_CERT_FILE": bundle.name}), Path(bundle.name))

    def test_bootstraps_from_the_mirror_of_the_host(self) -> None:
        found = apt.Mirrors(main="http://mirror/debian", security="http://mirror/security")
        argv = base_image.arguments("root", Path("/t/base.tar"), found)
        self.assertEqual(
            argv[-2:], ["deb http://mirror/debian trixie main", "deb http://mirror/security trixie-security main"]
        )
        self.assertIn("--mode=root", argv)

    def test_bootstraps_from_debian_where_the_host_is_something_else(self) -> None:
        argv = base_image.arguments("unshare", Path("/t/base.tar"), apt.Mirrors(main=None, security=None))
        self.assertEqual(argv[-2:], ["trixie", "/t/base.tar"])


class AptSources(unittest.TestCase):
    def test_reads_deb822_sources(self) -> None:
        text = (
            "Types: deb\n# a comment\nURIs: http://m/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
            "Types: deb\nURIs: http://m/security\nSuites: bookworm-security\n"
        )
        found = apt.mirrors({"debian.sources": text}, "bookworm")
        self.assertEqual(found, apt.Mirrors(main="http://m/debian", security="http://m/security"))

    def test_reads_one_line_sources(self) -> None:
        text = "# deb http://old/ bookworm main\ndeb [arch=amd64] http://m/debian bookworm main contrib\n"
        self.assertEqual(apt.mirrors({"sources.list": text}, "bookworm").main, "http://m/debian")

    def test_leaves_out_disabled_entries_and_other_suites(self) -> None:
        texts = {
            "a.sources": "Enabled: no\nURIs: http://off\nSuites: bookworm\n",
            "node.sources": "URIs: https://node\nSuites: nodistro\n",
        }
        self.assertEqual(apt.mirrors(texts, "bookworm"), apt.Mirrors(main=None, security=None))
