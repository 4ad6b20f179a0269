"""Writes dashboards/*.json for Grafana; kustomization.yaml makes ConfigMaps of them.

python k8s/components/monitoring/make_dashboards.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_PER_ROW, _WIDTH, _HEIGHT = 3, 8, 8


class Panel(NamedTuple):
    """One graph: (legend, PromQL) for each of its lines; `unit` is Grafana's name of it."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    said: str = ""
    kind: str = "timeseries"


def _share(of: str, where: str, by: str = "namespace", window: str = "$__rate_interval") -> str:
    return f"sum by ({by}) (rate({of}{{{where}}}[{window}])) / sum by ({by}) (rate({of}{{{_N}}}[{window}]))"


def _quantile(q: float, histogram: str, by: str = "", where: str = "") -> str:
    labels = ", ".join(["le", *([by] if by else [])])
    chosen = ", ".join([_N, *([where] if where else [])])
    return f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket{{{chosen}}}[$__rate_interval])))"


_N = 'namespace=~"$namespace"'
_RATE = "[$__rate_interval]"

DASHBOARDS: dict[str, tuple[str, list[Panel]]] = {
    "platform": (
        "UDAIR / Platform",
        [
            Panel(
                "APIs that answer",
                "short",
                (("{{namespace}}", f'sum by (namespace) (up{{job="udair-api", {_N}}})'),),
                kind="stat",
            ),
            Panel(
                "Error budget used, 1 h",
                "percentunit",
                (("{{namespace}}", f"udair:restore_error:ratio_rate1h{{{_N}}} / 0.001"),),
                "1 is the rate at which the budget of a month lasts a month.",
                "stat",
            ),
            Panel(
                "Reconciler silent",
                "s",
                (("{{namespace}}", f"max by (namespace) (udair_reconciler_silent_seconds{{{_N}}})"),),
                "0 while one acts.",
                "stat",
            ),
            Panel(
                "API requests",
                "reqps",
                (("{{status}}", f"sum by (status) (rate(udair_api_requests_total{{{_N}}}{_RATE}))"),),
            ),
            Panel("API errors", "percentunit", (("5xx", _share("udair_api_requests_total", f'{_N}, status=~"5.."')),)),
            Panel(
                "API latency",
                "s",
                (
                    ("p50", _quantile(0.5, "udair_api_request_seconds")),
                    ("p99", _quantile(0.99, "udair_api_request_seconds")),
                ),
            ),
            Panel(
                "Slowest routes, p99",
                "s",
                (("{{route}}", f"topk(5, {_quantile(0.99, 'udair_api_request_seconds', 'route')})"),),
                "Event streams last as long as somebody listens.",
            ),
            Panel(
                "Unfinished jobs",
                "short",
                (
                    (
                        "{{state}}",
                        f'max by (state) (udair_jobs{{{_N}, state=~"QUEUED|PROVISIONING|RUNNING|RECOVERING|CANCELLING"}})',
                    ),
                ),
            ),
            Panel(
                "Events", "cps", (("{{namespace}}", f"max by (namespace) (rate(udair_events_total{{{_N}}}{_RATE}))"),)
            ),
        ],
    ),
    "data-plane": (
        "UDAIR / Data plane",
        [
            Panel("Requests", "reqps", (("{{status}}", f"sum by (status) (rate(ray_udair_requests{{{_N}}}{_RATE}))"),)),
            Panel(
                "Errors and the objective",
                "percentunit",
                (
                    ("5xx", _share("ray_udair_requests", f'{_N}, status=~"5.."')),
                    ("objective", "vector(0.001)"),
                ),
            ),
            Panel(
                "Answers that fall back",
                "percentunit",
                (
                    (
                        "{{fallback}}",
                        f'sum by (fallback) (rate(ray_udair_requests{{{_N}, fallback!="none"}}{_RATE})) '
                        f"/ ignoring (fallback) group_left () sum (rate(ray_udair_requests{{{_N}}}{_RATE}))",
                    ),
                ),
                "previous: the version before; source: the model without adapter.",
            ),
            Panel("Stages, p50", "s", (("{{stage}}", _quantile(0.5, "ray_udair_stage_seconds", "stage")),)),
            Panel("Stages, p99", "s", (("{{stage}}", _quantile(0.99, "ray_udair_stage_seconds", "stage")),)),
            Panel(
                "Waiting pixels of a replica",
                "short",
                (
                    ("{{pod}}", f'sum by (pod) (ray_udair_waiting{{{_N}, what="pixels"}})'),
                    ("autoscaling aims at", "vector(8 * 256 * 256)"),
                ),
            ),
            Panel(
                "Images and adapters of a step",
                "short",
                (
                    ("images, p50", _quantile(0.5, "ray_udair_batch_images")),
                    ("adapters, p50", _quantile(0.5, "ray_udair_batch_domains")),
                ),
            ),
            Panel(
                "Adapter loads, p99", "s", (("{{tier}}", _quantile(0.99, "ray_udair_adapter_load_seconds", "tier")),)
            ),
            Panel(
                "Loads of adapters",
                "ops",
                (("{{tier}}", f"sum by (tier) (rate(ray_udair_adapter_load_seconds_count{{{_N}}}{_RATE}))"),),
                "From this machine's files, or from the store.",
            ),
            Panel("Bytes", "Bps", (("{{direction}}", f"sum by (direction) (rate(ray_udair_bytes{{{_N}}}{_RATE}))"),)),
            Panel(
                "Drift, the ten farthest",
                "short",
                (("{{domain}}", f"topk(10, max by (domain) (ray_udair_drift_bits{{{_N}}}))"),),
                "Bits of Jensen-Shannon divergence between the last window and the snapshot.",
            ),
            Panel(
                "Images by source class",
                "percentunit",
                (("{{class}}", f"avg by (class) (ray_udair_class_share{{{_N}}})"),),
                "Mean over domains.",
            ),
        ],
    ),
    "jobs": (
        "UDAIR / Jobs and gate",
        [
            Panel(
                "Oldest unfinished job",
                "s",
                (("{{namespace}}", f"max by (namespace) (udair_oldest_unfinished_job_seconds{{{_N}}})"),),
                kind="stat",
            ),
            Panel(
                "Versions that passed, 7 d",
                "percentunit",
                (
                    (
                        "passed",
                        f'sum (max by (verdict) (increase(udair_gate_verdicts_total{{{_N}, verdict="PASSED"}}[7d]))) '
                        f"/ sum (max by (verdict) (increase(udair_gate_verdicts_total{{{_N}}}[7d])))",
                    ),
                ),
                kind="stat",
            ),
            Panel(
                "Domains with confirmed drift",
                "short",
                (("domains", f"sum (max by (domain) (ray_udair_drift_confirmed{{{_N}}})) or vector(0)"),),
                kind="stat",
            ),
            Panel(
                "Unfinished jobs",
                "short",
                (
                    (
                        "{{state}}",
                        f'max by (state) (udair_jobs{{{_N}, state=~"QUEUED|PROVISIONING|RUNNING|RECOVERING|CANCELLING"}})',
                    ),
                ),
            ),
            Panel(
                "Jobs that ended, by hour",
                "short",
                (
                    (
                        "{{state}}",
                        f'max by (state) (delta(udair_jobs{{{_N}, state=~"SUCCEEDED|FAILED|CANCELLED|EXPIRED"}}[1h]))',
                    ),
                ),
            ),
            Panel(
                "Verdicts, by day",
                "short",
                (("{{verdict}}", f"max by (verdict) (increase(udair_gate_verdicts_total{{{_N}}}[1d]))"),),
            ),
            Panel(
                "CPU of jobs' nodes",
                "percent",
                (("{{pod}}", 'max by (pod) (ray_node_cpu_utilization{job="udair/udair-jobs"})'),),
            ),
            Panel(
                "Memory of jobs' nodes",
                "bytes",
                (("{{pod}}", 'max by (pod) (ray_node_mem_used{job="udair/udair-jobs"})'),),
            ),
            Panel(
                "GPU of jobs' nodes",
                "percent",
                (("{{pod}}", 'max by (pod) (ray_node_gpus_utilization{job="udair/udair-jobs"})'),),
            ),
        ],
    ),
    "capacity": (
        "UDAIR / Capacity and cost",
        [
            Panel(
                "Backbones",
                "short",
                (("that answer", f'count (count by (pod, WorkerId) (ray_udair_waiting{{{_N}, what="images"}}))'),),
                kind="stat",
            ),
            Panel(
                "Images a second of a backbone",
                "reqps",
                (
                    (
                        "mean",
                        f'sum (rate(ray_udair_requests{{{_N}, status="200"}}{_RATE})) '
                        f'/ count (count by (pod, WorkerId) (ray_udair_waiting{{{_N}, what="images"}}))',
                    ),
                ),
                kind="stat",
            ),
            Panel(
                "Backbones' cost an hour",
                "currencyUSD",
                (
                    (
                        "cost",
                        f'count (count by (pod, WorkerId) (ray_udair_waiting{{{_N}, what="images"}})) * $price_per_hour',
                    ),
                ),
                "At the price of a backbone's hour above.",
                "stat",
            ),
            Panel(
                "Model seconds a second, by domain",
                "short",
                (("{{domain}}", f"topk(10, sum by (domain) (rate(ray_udair_domain_forward_seconds{{{_N}}}[15m])))"),),
                "What each domain takes of the backbones: the share of the cost.",
            ),
            Panel(
                "Cost an hour, by domain",
                "currencyUSD",
                (
                    (
                        "{{domain}}",
                        f"topk(10, sum by (domain) (rate(ray_udair_domain_forward_seconds{{{_N}}}[15m]))) * $price_per_hour",
                    ),
                ),
            ),
            Panel(
                "Model seconds a second, all",
                "percentunit",
                (
                    (
                        "of the backbones",
                        f"sum (rate(ray_udair_domain_forward_seconds{{{_N}}}[15m])) "
                        f'/ count (count by (pod, WorkerId) (ray_udair_waiting{{{_N}, what="images"}}))',
                    ),
                ),
                "At 1 every backbone computes all the time.",
            ),
            Panel(
                "Resident adapters", "short", (("{{pod}}", f'sum by (pod) (ray_udair_bank{{{_N}, what="resident"}})'),)
            ),
            Panel(
                "Adapters put out",
                "ops",
                (("{{pod}}", f'sum by (pod) (rate(ray_udair_bank{{{_N}, what="evictions"}}[15m]))'),),
                "More slots (UDAIR_SERVE_SLOTS) or more replicas: a cold adapter costs milliseconds.",
            ),
            Panel(
                "Cold loads",
                "percentunit",
                (
                    (
                        "of requests",
                        f"sum (rate(ray_udair_adapter_load_seconds_count{{{_N}}}[15m])) / sum (rate(ray_udair_requests{{{_N}}}[15m]))",
                    ),
                ),
            ),
            Panel("CPU of serving", "percent", (("{{pod}}", f"max by (pod) (ray_node_cpu_utilization{{{_N}}})"),)),
            Panel("Memory of serving", "bytes", (("{{pod}}", f"max by (pod) (ray_node_mem_used{{{_N}}})"),)),
            Panel("GPU of serving", "percent", (("{{pod}}", f"max by (pod) (ray_node_gpus_utilization{{{_N}}})"),)),
        ],
    ),
}


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard, as Grafana imports it."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"udair-{name}",
        "title": title,
        "tags": ["udair"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables(name)},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def files() -> dict[str, str]:
    """Every file, by its path below this folder."""
    return {f"dashboards/{name}.json": json.dumps(dashboard(name), indent=1) + "\n" for name in DASHBOARDS}


def main() -> int:
    """Write the files."""
    (HERE / "dashboards").mkdir(exist_ok=True)
    for name, text in files().items():
        (HERE / name).write_text(text)
    return 0


def _variables(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source", "hide": 0},
        {
            "name": "namespace",
            "type": "query",
            "label": "Namespace",
            "datasource": _SOURCE,
            "refresh": 2,
            "query": {"query": "label_values(udair_jobs, namespace)", "refId": "namespace"},
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    if name == "capacity":
        price = {"text": "1", "value": "1"}
        found.append(
            {
                "name": "price_per_hour",
                "type": "textbox",
                "label": "Price of a backbone's hour",
                "query": "1",
                "current": price,
            }
        )
    return found


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _PER_ROW)
    made: dict[str, Any] = {
        "id": number + 1,
        "title": panel.title,
        "type": panel.kind,
        "description": panel.said,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for index, (legend, expr) in enumerate(panel.lines)
        ],
    }
    if panel.kind == "timeseries":
        made["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"}
    return made


if __name__ == "__main__":
    sys.exit(main())
