"""Rules, runbooks, dashboards and the catalogue speak of the same things."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metrics import catalogue as catalogue  # describes every metric
from metrics.described import descriptions
from tests.contract.promql import metric_names

REPOSITORY = Path(os.environ.get("HOLDFAST_REPOSITORY", Path(__file__).resolve().parents[3]))
PROMETHEUS = REPOSITORY / "prometheus"
GRAFANA = REPOSITORY / "grafana"

if not PROMETHEUS.exists() and not os.environ.get("CI"):
    pytest.skip(f"{PROMETHEUS} is not here: set HOLDFAST_REPOSITORY to the repository", allow_module_level=True)

#: Metrics that other programs make. `redis_stream_…` of ours stand in the catalogue as well.
FOREIGN = re.compile(r"redis_(?!stream_)\w+|pg_\w+|process_\w+|up|ALERTS")

DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yaml"))

#: Written by Grafana at every save; they make a diff unreadable.
VOLATILE_KEYS = ("id", "version", "iteration", "gnetId")


def rules() -> Iterator[dict[str, Any]]:
    for file in RULE_FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def dashboard(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


PANELS = [
    pytest.param(panel, id=f"{path.stem}: {panel['title']}")
    for path in DASHBOARDS
    for panel in dashboard(path)["panels"]
    if panel["type"] != "row"
]

EXPRESSIONS = [
    *(pytest.param(rule["expr"], id=f"rule {rule.get('alert') or rule['record']}") for rule in rules()),
    *(
        pytest.param(target["expr"], id=f"panel {param.id} {target['refId']}")
        for param in PANELS
        for target in param.values[0]["targets"]
    ),
    *(
        pytest.param(annotation["expr"], id=f"annotation {annotation['name']}")
        for path in DASHBOARDS
        for annotation in dashboard(path)["annotations"]["list"]
    ),
]


def known(name: str) -> bool:
    ours = {series for one in descriptions().values() for series in one.series_names()}
    return name in ours or name in RECORDED or FOREIGN.fullmatch(name) is not None


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_is_in_the_catalogue_or_comes_from_a_known_exporter(expression: str) -> None:
    names = metric_names(expression.replace("$__rate_interval", "1m"))
    unknown = {name for name in names if not known(name)}
    assert not unknown, f"describe {unknown} in metrics/catalogue.py, or correct the name in: {expression}"


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (pool) (rate(a_total{b="c d"}[5m])) > on (pool) group_left() e:f', {"a_total", "e:f"}),
        ("histogram_quantile(0.95, sum by (le) (rate(x_bucket[5m]))) or vector(0)", {"x_bucket"}),
        ("a > bool 1e3 unless b offset 5m", {"a", "b"}),
    ],
)
def test_finds_the_names_in_an_expression(expression: str, names: set[str]) -> None:
    assert metric_names(expression) == names


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_has_severity_summary_and_a_heading_in_the_runbooks(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    headings = re.findall(r"^## (\w+)$", (PROMETHEUS / "runbooks.md").read_text(), re.MULTILINE)
    assert rule["labels"]["severity"] in {"page", "ticket", "none"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook"] == f"prometheus/runbooks.md#{name.lower()}"
    assert headings.count(name) == 1


def test_every_runbook_belongs_to_an_alert() -> None:
    headings = re.findall(r"^## (\w+)$", (PROMETHEUS / "runbooks.md").read_text(), re.MULTILINE)
    assert set(headings) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda path: path.name)
def test_every_waiting_time_has_its_reason_beside_it(file: Path) -> None:
    for line in file.read_text().splitlines():
        if re.match(r"\s+for: ", line):
            assert "#" in line, f"{file.name}: say why it waits that long: {line.strip()}"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_is_tested_to_fire_and_to_stay_quiet(rule: dict[str, Any]) -> None:
    checks = [
        bool(check["exp_alerts"])
        for file in sorted((PROMETHEUS / "tests").glob("*.yaml"))
        for case in yaml.safe_load(file.read_text())["tests"]
        for check in case["alert_rule_test"]
        if check["alertname"] == rule["alert"]
    ]
    assert True in checks
    assert False in checks or rule["alert"] == "Watchdog", "add a case in which it must not fire"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_are_in_normal_form(path: Path) -> None:
    loaded = dashboard(path)
    assert loaded["uid"] == path.stem
    assert loaded["editable"] is False
    assert "holdfast" in loaded["tags"]
    assert not [key for key in VOLATILE_KEYS if key in loaded]
    assert path.read_text() == json.dumps(loaded, indent=2, ensure_ascii=False) + "\n", "write it with json, indent 2"


@pytest.mark.parametrize("panel", PANELS)
def test_panels_are_complete(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert "id" not in panel
    uid = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]["uid"]
    for target in panel["targets"]:
        assert target["expr"].strip()
        assert target["legendFormat"]
        assert target["datasource"]["uid"] == panel["datasource"]["uid"] == uid
        assert re.search(r"rate\([^)]*\[1m\]", target["expr"]) is None, "use $__rate_interval"


def test_panel_titles_are_unique() -> None:
    for path in DASHBOARDS:
        titles = [panel["title"] for panel in dashboard(path)["panels"]]
        assert len(titles) == len(set(titles))


def test_grafana_is_provisioned_read_only() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/holdfast.yaml").read_text())["providers"][0]
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert provider["allowUiUpdates"] is False
    assert source["editable"] is False


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: the test image installs it from Debian's prometheus packages")
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_promtool_accepts_the_configuration() -> None:
    run(tool("promtool"), "check", "config", "prometheus.yml")


def test_promtool_accepts_the_rules() -> None:
    run(tool("promtool"), "check", "rules", *(str(file) for file in RULE_FILES))


def test_alerts_fire_and_stay_quiet_as_promtool_tests_say() -> None:
    run(tool("promtool"), "test", "rules", *(str(file) for file in sorted((PROMETHEUS / "tests").glob("*.yaml"))))


def test_amtool_accepts_the_alertmanager_configuration() -> None:
    run(tool("amtool"), "check-config", str(REPOSITORY / "config/alertmanager/alertmanager.yml"))


@pytest.mark.parametrize("topology", ["standalone", "sentinel"])
def test_targets_are_services_of_the_topology(topology: str) -> None:
    names = {
        match[1]
        for file in sorted((PROMETHEUS / "targets" / topology).glob("*.yml"))
        for target in yaml.safe_load(file.read_text())[0]["targets"]
        if (match := re.fullmatch(r"redis://([a-z]+-\d):(?:6379|26379)", target))
    }
    nodes = (
        {"redis-1"}
        if topology == "standalone"
        else {f"{kind}-{n}" for kind in ("redis", "sentinel") for n in (1, 2, 3)}
    )
    assert names == nodes
