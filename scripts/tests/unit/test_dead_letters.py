"""`make dlq` and `make replay` against an API that answers as the real one does."""

import argparse
import contextlib
import io
import unittest
from types import ModuleType
from typing import Any
from unittest import mock

from scripts.stack import dead_letters, replay
from scripts.stack.api_client import ApiClient, ApiError
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

LETTER = {
    "id": "l1", "job_id": "l1", "kind": "probe.fast", "reason": "poison", "delivery_count": 3,
    "error_message": "it\nhurts", "created_at": "2026-05-01T06:00:00.123Z", "replayed_as": None,
}  # fmt: skip


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.client = mock.create_autospec(ApiClient, instance=True)
        patch = mock.patch.object(ApiClient, "of", return_value=self.client)
        patch.start()
        self.addCleanup(patch.stop)

    def said(self, module: ModuleType, *argv: str, status: int = 0) -> str:
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(output):
            self.assertEqual(module.run(parser.parse_args(argv), mock.create_autospec(Stack)), status)
        return output.getvalue()


class Listing(Case):
    def test_lists_letters_with_the_command_to_run_next(self) -> None:
        replayed = {**LETTER, "id": "l2", "replayed_as": "j9"}
        self.client.get.return_value = {"dead_letters": [replayed, LETTER], "next_cursor": "l1"}
        said = self.said(dead_letters, "reason=poison", "kind=probe.fast")
        self.client.get.assert_called_once_with("/dead-letters?reason=poison&kind=probe.fast")
        self.assertRegex(said, r"2026-05-01 06:00:00  probe.fast +poison +3 +l1 +it hurts\n")
        self.assertIn("replayed as j9", said)
        self.assertIn('make dlq FILTER="reason=poison kind=probe.fast cursor=l1"', said)
        self.assertIn("next: make replay ID=l1,", said)

    def test_columns_stand_below_each_other(self) -> None:
        long = {**LETTER, "kind": "webhook.deliver", "error_message": "because " * 40}
        head, *lines = dead_letters.table([long, LETTER])
        self.assertEqual({line.index("poison") for line in lines}, {head.index("reason")})
        self.assertEqual({line.index("l1") for line in lines}, {head.index("id")})
        self.assertTrue(lines[0].endswith("…"))

    def test_none_is_said(self) -> None:
        self.client.get.return_value = {"dead_letters": [], "next_cursor": None}
        self.assertEqual(self.said(dead_letters), "No dead letters.\n")

    def test_a_faulty_filter_is_answered_with_a_command(self) -> None:
        for word in ("reason", "colour=red", "kind="):
            with self.assertRaisesRegex(
                StackError, r"FILTER: '.*' is no NAME=VALUE of kind, reason.*\n  next: make dlq"
            ):
                self.said(dead_letters, word)


def answer(**changes: object) -> dict[str, Any]:
    counts = {"matched": 2, "created": 1, "joined": 1, "refused": 0}
    return {**counts, "refusals": [], "last_start": "2026-05-01T06:00:00Z", "next_cursor": None, **changes}


_RATES = (("all", "--rate", "fast"), ("all", "--rate", "nan"), ("all", "--rate", "inf"))


class Replaying(Case):
    def test_one_says_which_job_stands_for_it(self) -> None:
        self.client.post.return_value = {"id": "j2", "status": "QUEUED", "created": True}
        self.assertEqual(self.said(replay, "--id", "l1"), "l1 runs again as job j2 (QUEUED)\n")
        self.client.post.assert_called_once_with("/dead-letters/l1/replay", {})

    def test_many_go_on_to_the_end_and_are_counted(self) -> None:
        refusal = {"id": "l3", "message": "job l3 is gone"}
        self.client.post.side_effect = [
            answer(next_cursor="c1"),
            answer(matched=1, created=0, joined=0, refused=1, refusals=[refusal], last_start=None),
        ]
        said = self.said(replay, "reason=poison", "--rate", "5", status=1)
        self.assertEqual([call.args[1]["cursor"] for call in self.client.post.call_args_list], [None, "c1"])
        body = self.client.post.call_args.args[1]
        self.assertEqual((body["filter"], body["rate"], body["dry_run"]), ({"reason": "poison"}, 5.0, False))
        self.assertIn("refused l3: job l3 is gone", said)
        self.assertIn("3 matched, 1 created, 1 joined, 1 refused; the last one may start at 2026-05-01T06:00:00Z", said)

    def test_a_dry_run_says_so(self) -> None:
        self.client.post.return_value = answer()
        self.assertTrue(self.said(replay, "all", "--dry-run").startswith("Dry run, nothing was changed: 2 matched"))
        self.assertEqual(self.client.post.call_args.args[1]["filter"], {})

    def test_wrong_words_are_answered_with_a_command(self) -> None:
        for argv in (
            (),
            ("--id", "l1", "reason=poison"),
            ("--id", "l1", "--dry-run"),
            ("--id", "l1", "--rate", "5"),
            *_RATES,
        ):
            with self.assertRaisesRegex(StackError, "next: make replay ID="):
                self.said(replay, *argv)

    def test_an_unknown_letter_says_where_to_look(self) -> None:
        self.client.post.side_effect = ApiError("The API answers 404", status=404, fix="make logs")
        with self.assertRaisesRegex(StackError, "next: make dlq"):
            self.said(replay, "--id", "nope")


if __name__ == "__main__":
    unittest.main()
