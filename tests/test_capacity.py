"""The capacity computation: it reads what was measured, repeats itself, and its parts do what they say."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
PUBLISHED = json.loads((BENCHMARKS / "results/capacity.json").read_text())


@pytest.fixture
def capacity(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("capacity", None)
    return importlib.import_module("capacity")


def run(tmp_path: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "benchmarks/capacity.py", "--json", str(tmp_path / "c.json"), *words]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return json.loads((tmp_path / "c.json").read_text())


def test_what_is_published_follows_from_the_measured_results_as_they_are(tmp_path: Path) -> None:
    again = run(tmp_path)
    for part in ("figures", "inputs", "assumptions", "promoted_share", "full_first"):
        assert again[part] == PUBLISHED[part], "run `make bench-capacity`"
    for given in PUBLISHED["inputs"].values():
        document = json.loads((BENCHMARKS / "results" / given["file"]).read_text())
        assert document["figures"][given["figure"]]["value"] == given["value"]


def test_prices_are_all_that_makes_cost(tmp_path: Path) -> None:
    assumed = PUBLISHED["assumptions"]
    doubled = [f"--{n.replace('_', '-')}={2 * assumed[n]}" for n in ("gpu_hour", "vcpu_hour", "gb_month")]
    figures = run(tmp_path, *doubled)["figures"]
    for name, figure in PUBLISHED["figures"].items():
        factor = 2 if figure["unit"].startswith("$") else 1
        assert figures[name]["value"] == pytest.approx(factor * figure["value"], rel=1e-3, abs=2e-6), name


def test_cost_of_a_domain_falls_with_their_number_and_an_endpoint_each_is_never_cheaper() -> None:
    scales = (10, 100, 1_000, 10_000, 100_000)
    costs = [PUBLISHED["figures"][f"{n}_cost_per_domain"]["value"] for n in scales]
    assert costs == sorted(costs, reverse=True)
    assert all(PUBLISHED["figures"][f"{n}_endpoint_per_domain_over_ours"]["value"] > 1 for n in scales)


def test_an_adapter_is_cold_when_others_were_used_since(capacity: ModuleType) -> None:
    def cold(domains: int, slots: int, zipf: float = 0.0, backbones: int = 1) -> float:
        rng = np.random.default_rng(0)
        return capacity.cold_share(capacity.weights(domains, zipf), backbones, slots, 20_000, rng)

    assert cold(100, 100) == 0
    # Uniform traffic over twice as many domains as slots: half of the requests find theirs.
    assert cold(200, 100) == pytest.approx(0.5, abs=0.03)
    assert cold(200, 100, zipf=1.0) < cold(200, 100)
    assert cold(200, 150) < cold(200, 50)
    assert cold(200, 60, backbones=4) < 0.05


def test_replicas_cover_the_load_stay_for_five_minutes_and_are_never_none(capacity: ModuleType) -> None:
    busy = np.zeros(1440)
    busy[600] = 3.2

    running = capacity.replicas(busy)

    assert (running >= busy).all()
    assert running.min() == 1
    assert running[599:607].tolist() == [1, 4, 4, 4, 4, 4, 4, 1]


def test_a_day_is_a_day_and_a_domains_share_is_its_rank(capacity: ModuleType) -> None:
    assert capacity.shape().sum() == pytest.approx(1)
    share = capacity.weights(1000, 1.0)
    assert share.sum() == pytest.approx(1)
    assert share[0] / share[9] == pytest.approx(10)


def test_the_control_plane_asks_for_what_the_manifests_request() -> None:
    def cores(amount: str) -> float:
        return float(amount[:-1]) / 1000 if amount.endswith("m") else float(amount)

    total = 0.0
    for name in ("api", "scheduler"):
        deployment = next(yaml.safe_load_all((ROOT / f"k8s/base/{name}.yaml").read_text()))
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        total += deployment["spec"]["replicas"] * cores(container["resources"]["requests"]["cpu"])
    service = next(yaml.safe_load_all((ROOT / "k8s/base/serving.yaml").read_text()))
    (head,) = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"]
    total += cores(head["resources"]["requests"]["cpu"])
    assert PUBLISHED["assumptions"]["control_vcpu"] == pytest.approx(total)
