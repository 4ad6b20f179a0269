"""Alerts and dashboards ask for what the code exports, lead to a page that there is, and fire when they should."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from udair_platform.deploy.manifests import Manifests

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "k8s/components/monitoring"
BASE = ROOT / "k8s/base"
# What others export, and its labels.
OTHERS: dict[str, set[str]] = {
    "up": set(),
    "ray_serve_deployment_replica_healthy": {"deployment", "application", "replica"},
    "ray_node_cpu_utilization": set(),
    "ray_node_mem_used": set(),
    "ray_node_gpus_utilization": set(),
}
# Labels that Prometheus gives every series of a target, and Ray every series of a process.
TARGET = {"job", "instance", "namespace", "pod", "WorkerId"}
KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on PATH; install the Debian package prometheus"
)


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


make_dashboards = module(MONITORING / "make_dashboards.py")
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((MONITORING / "dashboards").glob("*.json"))}
GROUPS = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"]: {"namespace"} for rule in RULES if "record" in rule}


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every rule and every line of a dashboard, Grafana's variables filled in."""
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", "5m")
                yield f"{name}: {panel['title']}", re.sub(r"\$\w+", "1", expr)


EXPRESSIONS = list(expressions())


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Every name that may be asked for, with its labels."""
    found = {name: set(labels) for name, labels in (OTHERS | RECORDED).items()}
    for metric in module(ROOT / "docs/make_reference.py").metrics():
        if metric.kind != "histogram":
            found[metric.name] = set(metric.labels)
            continue
        for suffix, more in (("_bucket", {"le"}), ("_sum", set()), ("_count", set())):
            found[metric.name + suffix] = set(metric.labels) | more
    return found


def asked(expr: str) -> tuple[set[str], dict[str, set[str]], set[str]]:
    """Metrics of an expression, the labels that each is selected by, and the labels that it groups by."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    selected = {
        name: set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside))
        for name, inside in re.findall(r"([a-zA-Z_][\w:]*)\{([^}]*)\}", bare)
    }
    grouped = {
        label
        for labels in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", bare)
        for label in re.findall(r"\w+", labels)
    }
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    rest = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", rest)
    names = set(re.findall(r"(?<![\w.:])[a-zA-Z_][\w:]*(?!\s*\(|[\w:])", rest)) - KEYWORDS
    return names, selected, grouped


def test_what_an_expression_asks_for_is_read_from_it() -> None:
    expr = 'sum by (a, le) (rate(x_bucket{b="y", c!="q{"}[5m])) / on (d) 5e3 * y:z and absent(up{job=~"p"})'
    names, selected, grouped = asked(expr)
    assert names == {"x_bucket", "y:z", "up"}
    assert selected == {"x_bucket": {"b", "c"}, "up": {"job"}}
    assert grouped == {"a", "le", "d"}


@pytest.mark.parametrize(("where", "expr"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_an_expression_asks_for_what_is_exported(where: str, expr: str, exported: dict[str, set[str]]) -> None:
    names, selected, grouped = asked(expr)
    assert names or expr.startswith("vector("), "asks for nothing"
    assert names - set(exported) == set()
    for name, labels in selected.items():
        assert labels <= exported[name] | TARGET, f"{name} has no label {labels - exported[name] - TARGET}"
    assert grouped <= TARGET.union(*(exported[name] for name in names))


@needs_promtool
def test_every_expression_is_good_promql(tmp_path: Path) -> None:
    rules = [{"record": f"x:{number}:y", "expr": expr} for number, (_, expr) in enumerate(EXPRESSIONS)]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(tmp_path / "all.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(EXPRESSIONS)} rules found" in done.stdout


@needs_promtool
def test_alerts_fire_when_they_should_and_not_otherwise(tmp_path: Path) -> None:
    (tmp_path / "udair.rules.yaml").write_text(yaml.safe_dump({"groups": GROUPS}))
    shutil.copy(MONITORING / "rules.test.yaml", tmp_path)
    command = ["promtool", "test", "rules", "rules.test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_to_fire() -> None:
    tests = yaml.safe_load((MONITORING / "rules.test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_how_bad_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    titles = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.M)
    assert anchor in {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}


def test_saturation_is_told_in_the_pixels_that_autoscaling_aims_at() -> None:
    from udair_platform.serving.routing.autoscaling import Scaling

    (rule,) = [rule for rule in ALERTS if rule["alert"] == "UdairSaturated"]
    factors = [float(number) for number in rule["expr"].partition(">")[2].split("*")]
    assert factors[0] > 1
    assert factors[1] * factors[2] * factors[3] == Scaling().target_pixels


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_imported_anywhere(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == f"udair-{name}"
    assert dashboard["title"].startswith("UDAIR / ")
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert {"datasource", "namespace"} <= variables
    assert set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard))) <= variables
    assert not re.search(r"https?://", json.dumps(dashboard))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) > 5
    for panel in dashboard["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_there_are_the_four_dashboards_and_the_cluster_gets_the_same_files() -> None:
    assert set(DASHBOARDS) == {"platform", "data-plane", "jobs", "capacity"}
    for name, text in make_dashboards.files().items():
        assert (MONITORING / name).read_text() == text, "run python k8s/components/monitoring/make_dashboards.py"
    maps = [item for item in Manifests.read("components/monitoring").objects if item["kind"] == "ConfigMap"]
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in maps)
    shipped = {name: text for item in maps for name, text in item["data"].items()}
    assert shipped == {
        f"udair-{path.stem}.json": path.read_text() for path in (MONITORING / "dashboards").glob("*.json")
    }


def test_the_component_lists_every_manifest() -> None:
    listed = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())["resources"]
    there = {path.name for path in MONITORING.glob("*.yaml")} - {"kustomization.yaml", "rules.test.yaml"}
    assert set(listed) == there


def test_monitors_select_what_the_manifests_run() -> None:
    monitors = {item["metadata"]["name"]: item["spec"] for item in documents(MONITORING / "monitors.yaml")}
    (service,) = [item for item in documents(BASE / "api.yaml") if item["kind"] == "Service"]
    (endpoint,) = monitors["udair-api"]["endpoints"]
    assert monitors["udair-api"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert endpoint["authorization"]["credentials"] == {"name": "udair-metrics", "key": "token"}
    (serving,) = [item for item in documents(BASE / "serving.yaml") if item["kind"] == "RayService"]
    cluster = serving["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        labels = group["template"]["metadata"]["labels"]
        assert monitors["udair-serving"]["selector"]["matchLabels"].items() <= labels.items()
        ports = {port["name"]: port["containerPort"] for port in group["template"]["spec"]["containers"][0]["ports"]}
        assert ports[monitors["udair-serving"]["podMetricsEndpoints"][0]["port"]] == 8080
    assert monitors["udair-jobs"]["selector"]["matchLabels"] == {"app.kubernetes.io/managed-by": "udair"}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))
