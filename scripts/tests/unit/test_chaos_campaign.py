"""A campaign over the records of its runs: what is still to do, its table, its verdict."""

import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.chaos import campaign
from scripts.chaos.campaign import Campaign

WHOLE = Campaign(
    *(10, 4, ("celery", "stream"), "sentinel"),
    duration=40.0,
    rate=50.0,
    code="0123456789ab",
    times="judge",
)


def record(seed: int, mode: str = "stream", **more: object) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "campaign": WHOLE.name,
        "seed": seed,
        "mode": mode,
        "plan": {"steps": [{"fault": "flush-all"}]},
        "applied": ["flush-all"],
        "accepted": 1000,
        "lost": 0,
        "duplicate_effects": 0,
        "executions": 1000,
        "extra_executions": 5,
        "recovery_s": 1.5,
        "sometimes": dict.fromkeys(campaign.SOMETIMES, 1),
        "verdict": "held",
        "broken": [],
    }
    return {**plain, **more}


def complete(**more: object) -> list[dict[str, Any]]:
    return [record(seed, mode, **more) for seed, mode in WHOLE.runs_in_order()]


class Campaigns(unittest.TestCase):
    def test_each_mode_gets_its_part_in_one_go(self) -> None:
        self.assertEqual(WHOLE.runs_in_order(), [(10, "celery"), (11, "celery"), (12, "stream"), (13, "stream")])
        self.assertEqual([mode for _, mode in replace(WHOLE, runs=3).runs_in_order()], ["celery", "celery", "stream"])

    def test_goes_on_where_it_was_cut_short(self) -> None:
        self.assertEqual(WHOLE.still_to_do([record(10, "celery"), record(12)]), [(11, "celery"), (13, "stream")])

    def test_reads_its_own_records_and_skips_a_torn_line(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chaos.jsonl"
            self.assertEqual(campaign.load(path, WHOLE.name), [])
            lines = [json.dumps(record(10)), json.dumps(record(11, campaign="another")), '{"seed": 1']
            path.write_text("\n".join(lines))
            self.assertEqual([one["seed"] for one in campaign.load(path, WHOLE.name)], [10])

    def test_the_table_has_a_line_for_each_fault_and_one_for_all(self) -> None:
        records = [
            record(10),
            record(11, recovery_s=3.0, lost=2),
            record(12, applied=["kill-web", "flush-all"], recovery_s=None),
        ]
        head, flush, web, everything = campaign.table(records)
        self.assertEqual(flush.split(), ["flush-all", "3", "3000", "2", "0", "0.50%", "1.50", "3.00", "2"])
        self.assertEqual(web.split(), ["kill-web", "1", "1000", "0", "0", "0.50%", "-", "-", "0"])
        self.assertEqual(everything.split()[:4], ["all", "runs", "3", "3000"])
        self.assertEqual(len(head), len(flush))

    def test_what_never_came_back_is_shown_as_such(self) -> None:
        self.assertIn("inf", campaign.table([record(10, recovery_s=-1.0)])[1])

    def test_a_complete_campaign_that_saw_everything_and_held_is_0(self) -> None:
        self.assertEqual(campaign.verdict(WHOLE, complete())[1], 0)

    def test_a_broken_run_is_named(self) -> None:
        records = [*complete()[:3], record(13, verdict="broken", broken=["lost: 1"])]
        lines, status = campaign.verdict(WHOLE, records)
        self.assertEqual(status, 1)
        self.assertIn("seed 13 in stream mode: lost: 1", "\n".join(lines))

    def test_a_campaign_that_never_saw_a_thing_is_void(self) -> None:
        seen = {**dict.fromkeys(campaign.SOMETIMES, 1), "reclaim": 0}
        lines, status = campaign.verdict(WHOLE, complete(sometimes=seen))
        self.assertEqual(status, 1)
        self.assertIn("void: never saw reclaim", lines)

    def test_a_fault_that_was_drawn_and_never_broke_anything_voids_it(self) -> None:
        steps = {"steps": [{"fault": "flush-all"}, {"fault": "kill-web"}]}
        lines, status = campaign.verdict(WHOLE, complete(plan=steps))
        self.assertEqual(status, 1)
        self.assertIn("void: never applied kill-web", lines)

    def test_a_run_without_a_verdict_is_told_and_tried_again(self) -> None:
        none = {"seed": 10, "mode": "celery", "verdict": campaign.NO_VERDICT, "reason": "could not be healed"}
        self.assertEqual(WHOLE.still_to_do([none, record(11, "celery")])[0], (10, "celery"))
        lines, status = campaign.verdict(WHOLE, [none, *complete()])
        self.assertEqual(status, 0)
        self.assertIn("  no verdict: seed 10 in celery mode: could not be healed", lines)

    def test_other_code_and_times_that_are_not_judged_are_another_campaign(self) -> None:
        names = {WHOLE.name, replace(WHOLE, code="ba9876543210").name, replace(WHOLE, times="print").name}
        self.assertEqual(len(names), 3)

    def test_says_how_many_jobs_a_run_accepted_at_least(self) -> None:
        lines, _ = campaign.verdict(WHOLE, [*complete()[:3], record(13, accepted=998)])
        self.assertIn("each accepted 998 jobs or more", lines)

    def test_a_group_is_not_missed_where_there_is_none(self) -> None:
        seen = {**dict.fromkeys(campaign.SOMETIMES, 1), "group recreation": 0}
        self.assertEqual(campaign.never_seen([record(1, "celery", sometimes=seen)]), [])
        self.assertEqual(campaign.never_seen([record(1, "stream", sometimes=seen)]), ["group recreation"])

    def test_one_that_was_cut_short_says_so(self) -> None:
        lines, status = campaign.verdict(WHOLE, complete()[:2])
        self.assertEqual(status, 1)
        self.assertIn("2 of 4 runs", lines[0])
        self.assertIn("cut short", lines[-1])


if __name__ == "__main__":
    unittest.main()
