"""What a second start does again, and what it leaves alone."""

import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

from scripts.stack import start_record
from scripts.stack.services import Service
from scripts.stack.start_record import StartRecord

RECORD = StartRecord(containers=("a", "b"), inputs="1", mounts={"prometheus": "x", "web": "y"})
WELL = Service(name="web", container="p-web-1", container_id="a", state="running", health="healthy", exit_code=0)


class Record(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_an_unchanged_stack_that_is_well_is_left_alone(self) -> None:
        self.assertTrue(start_record.is_unchanged(RECORD, RECORD, [WELL]))

    def test_an_ill_service_is_started_again(self) -> None:
        self.assertFalse(start_record.is_unchanged(RECORD, RECORD, [WELL, replace(WELL, state="exited", exit_code=1)]))

    def test_another_container_a_changed_variable_or_no_record_is_a_start(self) -> None:
        for last in (replace(RECORD, containers=("a",)), replace(RECORD, inputs="2"), None):
            self.assertFalse(start_record.is_unchanged(RECORD, last, [WELL]))

    def test_a_stack_without_containers_is_not_up(self) -> None:
        empty = replace(RECORD, containers=())
        self.assertFalse(start_record.is_unchanged(empty, empty, []))

    def test_names_the_services_whose_mounted_files_changed(self) -> None:
        last = replace(RECORD, mounts={"prometheus": "older", "web": "y"})
        self.assertEqual(RECORD.stale_services(last), ["prometheus"])
        self.assertEqual(RECORD.stale_services(replace(RECORD, mounts={})), [])
        self.assertEqual(RECORD.stale_services(None), [])

    def test_reads_back_what_it_wrote_and_nothing_else(self) -> None:
        path = self.folder / "start.json"
        self.assertIsNone(StartRecord.load(path))
        RECORD.save(path)
        self.assertEqual(StartRecord.load(path), RECORD)
        path.write_text('{"containers": 1}')
        self.assertIsNone(StartRecord.load(path))

    def test_an_edited_rule_changes_only_the_service_that_mounts_it(self) -> None:
        rules = self.folder / "rules"
        rules.mkdir()
        (rules / "alerts.yaml").write_text("one")
        config = {
            "services": {
                "prometheus": {"volumes": [{"type": "bind", "source": str(rules)}]},
                "web": {"volumes": [{"type": "volume", "source": "files"}]},
                "bridge": {},
            }
        }
        before = start_record.mount_hashes(config)
        (rules / "alerts.yaml").write_text("two")
        after = start_record.mount_hashes(config)
        self.assertEqual({name for name in after if after[name] != before[name]}, {"prometheus"})
