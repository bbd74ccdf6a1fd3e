"""Every panel shows something on a live stack: its queries run against a real Prometheus and must answer.

Needs a healthy stack that has done a job per pool (`make up && make smoke`). PROMETHEUS_URL says where its Prometheus
is, for example http://127.0.0.1:9090; TOPOLOGY (sentinel or standalone) which panels may be empty.
"""

import json
import math
import os
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

from scripts.stack.errors import StackError
from scripts.stack.waiting import wait_until

DASHBOARDS: Final = Path(__file__).resolve().parents[3] / "grafana" / "dashboards"
PROMETHEUS_URL: Final = os.environ.get("PROMETHEUS_URL", "").rstrip("/")
TOPOLOGY: Final = os.environ.get("TOPOLOGY", "sentinel")

#: Seconds until a stack that just became healthy has two scrapes of everything behind it, and the rules have run.
WITHIN_SECONDS: Final = 300.0

#: Panels that ask the Sentinels.
EMPTY_IN_STANDALONE: Final = frozenset({"Sentinels that agree", "Replicas that are in step"})

#: Percentiles: NaN is right where nothing happened within 5 minutes.
NAN_WHEN_IDLE: Final = frozenset(
    {"End to end, 95th percentile", "Stage, 95th percentile", "Answer time, 95th percentile"}
)


@dataclass(frozen=True)
class Query:
    """One target of one panel."""

    panel: str
    ref: str
    expression: str

    @property
    def may_be_empty(self) -> bool:
        return TOPOLOGY == "standalone" and self.panel in EMPTY_IN_STANDALONE


def queries() -> Iterator[Query]:
    """All queries of all dashboards, Grafana's variables filled in."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                yield Query(panel["title"], target["refId"], target["expr"].replace("$__rate_interval", "1m"))


def ask(path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
    """`data` of Prometheus's answer. Raises OSError."""
    with urlopen(f"{PROMETHEUS_URL}/api/v1/{path}?{urlencode(parameters)}", timeout=60) as answer:
        return json.load(answer)["data"]


def problem(query: Query) -> str:
    """Why the panel shows nothing; empty when it shows something."""
    values = [float(one["value"][1]) for one in ask("query", query=query.expression)["result"]]
    if not values:
        return "" if query.may_be_empty else "empty"
    if query.panel not in NAN_WHEN_IDLE and not any(math.isfinite(value) for value in values):
        return f"no finite value: {values}"
    return ""


def problems() -> list[str]:
    found = ((query, problem(query)) for query in queries())
    return [f"{query.panel} {query.ref}: {why}: {query.expression}" for query, why in found if why]


def sick_targets() -> list[str]:
    return [
        f"{one['labels']['job']} {one['labels']['instance']}: {one['lastError']}"
        for one in ask("targets", state="active")["activeTargets"]
        if one["health"] != "up"
    ]


def failed_rules() -> list[str]:
    groups = ask("rules")["groups"]
    return [
        f"{rule['name']}: {rule.get('lastError')}"
        for group in groups
        for rule in group["rules"]
        if rule["health"] != "ok"
    ]


@unittest.skipUnless(PROMETHEUS_URL, "set PROMETHEUS_URL to the Prometheus of a running stack")
class DashboardQueries(unittest.TestCase):
    """Against the live stack."""

    def expect_none(self, check: Callable[[], list[str]], sentence: str) -> None:
        """Waits until `check` finds nothing; then reports what it still finds."""
        left: list[str] = []

        def holds() -> bool:
            try:
                left[:] = check()
            except OSError as error:  # a busy Prometheus answers the next time
                left[:] = [f"Prometheus does not answer: {error}"]
            return not left

        try:
            wait_until(holds, within=WITHIN_SECONDS, otherwise=sentence)
        except StackError as error:
            self.fail(f"{error}\n" + "\n".join(left))

    def test_every_target_answers(self) -> None:
        self.expect_none(sick_targets, "Prometheus does not reach every target")

    def test_every_rule_evaluates(self) -> None:
        self.expect_none(failed_rules, "rules fail, or were not evaluated yet")

    def test_every_panel_shows_something(self) -> None:
        self.expect_none(problems, "panels show nothing")

    def test_only_the_watchdog_fires_on_a_healthy_stack(self) -> None:
        self.expect_none(
            lambda: [
                one["labels"]["alertname"]
                for one in ask("alerts")["alerts"]
                if one["state"] == "firing" and one["labels"]["alertname"] != "Watchdog"
            ],
            "alerts fire on a healthy stack",
        )

    def test_the_watchdog_fires(self) -> None:
        def silent() -> list[str]:
            firing = {one["labels"]["alertname"] for one in ask("alerts")["alerts"] if one["state"] == "firing"}
            return sorted({"Watchdog"} - firing)

        self.expect_none(silent, "nothing says that alerts arrive")

    def test_names_of_exceptions_are_panels(self) -> None:
        panels = {query.panel for query in queries()}
        self.assertLessEqual(EMPTY_IN_STANDALONE | NAN_WHEN_IDLE, panels)


if __name__ == "__main__":
    unittest.main()
