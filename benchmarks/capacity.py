"""What 10 to 100,000 domains cost on one platform, computed from what the other benchmarks measured.

python benchmarks/capacity.py --json benchmarks/results/capacity.json --picture benchmarks/results/capacity.png

A simulation: a day of images, a few for most domains and many for few (Zipf), fewer at night, all in one time zone. Every
speed and size is a figure of another result here, by file and name (`INPUTS`); prices and the load are assumptions, each an
argument. Serving is on GPUs or on CPUs, whichever is cheaper. Beside it stands what the same figures say of one endpoint
with a model of its own for each domain, each on whichever is cheaper, too.

Not in it: bursts, nodes that start, traffic to and from the buckets, requests to the store, what people cost.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from autoscale import SIZES
from report import Figure, arguments, publish

from udair_platform.serving.routing.autoscaling import Scaling
from udair_platform.settings import Settings

RESULTS = Path(__file__).parent / "results"
SCALES = (10, 100, 1_000, 10_000, 100_000)
DAY_S, HOUR_S, MINUTES = 86_400, 3600, 1440
GB, MIB, GIB = 1e9, 2**20, 2**30

# What is read: ours -> (file, figure, what it is).
INPUTS = {
    "gpu_per_s_256": ("forward-h100", "engine_images_per_s_256", "images a second of one GPU, 256 x 256"),
    "gpu_per_s_512": ("forward-h100", "engine_images_per_s_512", "the same, 512 x 512"),
    "gpu_per_s_1080p": ("forward-h100", "engine_images_per_s_1080p", "the same, 1920 x 1080"),
    "gpu_model_mib": ("forward-h100", "peak_memory", "GPU memory of one backbone at work"),
    "cpu_per_s_256": ("forward-cpu", "engine_images_per_s_256", "images a second of one core, 256 x 256"),
    "cpu_per_s_512": ("forward-cpu", "engine_images_per_s_512", "the same, 512 x 512"),
    "cpu_per_s_1080p": ("forward-cpu", "engine_images_per_s_1080p", "the same, 1920 x 1080"),
    "plane_share": ("serving", "serve_apart_over_raw_forward", "of raw speed through the data plane, ingress apart"),
    "cpu_plane_share": ("serving", "serve_over_raw_forward", "of raw speed through the data plane, ingress inside"),
    "adapter_bytes": ("serving", "adapter_bytes", "of one adapter"),
    "cold_ms": ("serving", "cold_adapter_p50_ms", "until an adapter is here from the store"),
    "adapt_s": ("adaptation", "adapt_mean_s", "of one job"),
    "snapshot_bytes": ("snapshot", "snapshot_bytes_per_object", "of an image in a snapshot's list"),
    "submissions_per_s": ("control_plane", "submissions_per_s_postgres", "that the API accepts, PostgreSQL"),
    "publish_10k_s": ("control_plane", "routes_10k_publish_s_postgres", "to publish routes of 10,000 domains"),
    "tick_10k_s": ("control_plane", "reconcile_10k_idle_s_postgres", "of one pass over 10,000 domains"),
    "list_growth": ("control_plane", "list_p99_growth_postgres", "of a list's p99 from 100 to 10,000 domains"),
}

# What nobody measured: prices and load.
ASSUMPTIONS = {
    "gpu_hour": (4.0, "price of an hour of one GPU"),
    "vcpu_hour": (0.04, "price of an hour of one vCPU"),
    "gb_month": (0.023, "price of a GB of object storage for a month"),
    "images_per_day": (1000.0, "images of a domain in a day, mean over domains"),
    "zipf": (1.0, "exponent: how unequal domains are"),
    "adaptations_per_month": (1.0, "jobs of a domain in 30 days"),
    "snapshot_images": (1000.0, "images in a snapshot"),
    "versions_kept": (12.0, "adapters and snapshots of a domain that stay stored"),
    "gpu_memory_gib": (141.0, "of one GPU, where endpoints of several domains share it"),
    "control_vcpu": (1.7, "requested by API, scheduler and head of serving in k8s/base"),
}


@dataclass(frozen=True)
class Fleet:
    """Replicas over a day: of one kind, for one way to serve.

    Attributes:
        mean, peak: Replicas that run.
        hours: Of GPUs, or of vCPUs, a day.
        cost: A day.
    """

    mean: float
    peak: int
    hours: float
    cost: float


@dataclass(frozen=True)
class Scale:
    """What one number of domains needs and costs; a day's figures.

    Attributes:
        gpu, cpu: The shared backbones, on GPUs and on cores.
        cold_share: Requests whose adapter is not resident, on GPUs: fewer banks.
        job_gpu_hours_bound: If a job held a GPU for as long as it takes on CPUs.
        cost: By what it is for.
        endpoints: Cost of serving with one endpoint a domain, each with at least one GPU or one core, the cheaper.
        endpoints_gpu_hours: The same on GPUs alone.
        packed_gpu_hours: Where endpoints share GPUs, as many as a GPU's memory holds models.
        busy: Share of what each thing that does not scale out by itself can do.
    """

    domains: int
    images: float
    gpu: Fleet
    cpu: Fleet
    job_vcpu_hours: float
    job_gpu_hours_bound: float
    jobs_at_once: float
    cold_share: float
    cold_s: float
    storage_gb: float
    cost: dict[str, float]
    endpoints: float
    endpoints_gpu_hours: float
    packed_gpu_hours: float
    busy: dict[str, float]

    @property
    def cost_per_day(self) -> float:
        """All of it."""
        return sum(self.cost.values())

    def over_ours(self, serving: float) -> float:
        """Cost with that for serving, over ours: jobs, storage and control plane are needed either way."""
        return (self.cost_per_day - self.cost["serving"] + serving) / self.cost_per_day


def measured() -> dict[str, float]:
    """The inputs' values.

    Raises:
        SystemExit: A result or a figure of it is missing.
    """
    found = {}
    for name, (file, figure, _) in INPUTS.items():
        try:
            found[name] = float(json.loads((RESULTS / f"{file}.json").read_text())["figures"][figure]["value"])
        except (OSError, KeyError) as error:
            raise SystemExit(
                f"{figure} of benchmarks/results/{file}.json is missing ({error}); run that benchmark first."
            ) from None
    worlds = json.loads((RESULTS / "adaptation.json").read_text())
    shifted = [world for world in worlds["worlds"].values() if world["shifted"]]
    found["promoted_share"] = sum(world["verdict"] == "PASSED" for world in shifted) / len(shifted)
    found["adapt_cores"] = float(worlds["machine"]["cores"])
    return found


def shape() -> np.ndarray:
    """Share of the day's images in each minute: the day of `autoscale.py`, without its bursts."""
    hours = np.arange(MINUTES) / 60
    rate = 0.15 + 4.0 * np.clip(np.sin((hours - 6) / 14 * math.pi), 0, None) ** 2
    return rate / rate.sum()


def weights(domains: int, zipf: float) -> np.ndarray:
    """Each domain's share of all images, the largest first."""
    ranks = np.arange(1, domains + 1, dtype=float) ** -zipf
    return ranks / ranks.sum()


def seconds_per_image(inputs: dict[str, float], device: str) -> float:
    """Of one `device` (``gpu``, ``cpu``), over the mix of sizes of `autoscale.py`, through the data plane."""
    share = inputs["plane_share" if device == "gpu" else "cpu_plane_share"]
    names = ("256", "512", "1080p")
    return sum(part / (inputs[f"{device}_per_s_{n}"] * share) for n, (_, part) in zip(names, SIZES, strict=True))


def replicas(busy: np.ndarray) -> np.ndarray:
    """Replicas of every minute for so many replicas' worth of work: kept as long as the autoscaler keeps them."""
    need = np.maximum(np.ceil(busy), Scaling().min_replicas)
    kept = round(Scaling().down_after_s / 60)
    return np.max([np.roll(need, back) for back in range(kept + 1)], axis=0)


def cold_share(share: np.ndarray, backbones: int, slots: int, requests: int, rng: np.random.Generator) -> float:
    """Requests that find their adapter evicted, or never loaded; each backbone has a bank of the least recently used.

    A domain is always sent to the same backbone. The first half of the requests fills the banks and is not counted.
    """
    if len(share) <= slots:
        return 0.0
    home = rng.integers(0, backbones, len(share))
    banks: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(backbones)]
    asked = rng.choice(len(share), requests, p=share)
    cold = 0
    for number, domain in enumerate(asked.tolist()):
        bank = banks[home[domain]]
        if domain in bank:
            bank.move_to_end(domain)
            continue
        bank[domain] = None
        if len(bank) > slots:
            bank.popitem(last=False)
        cold += number >= requests // 2
    return cold / (requests - requests // 2)


def simulate(domains: int, inputs: dict[str, float], given: argparse.Namespace, rng: np.random.Generator) -> Scale:
    """One day of so many domains."""
    images = domains * given.images_per_day
    per_minute = rng.poisson(images * shape())
    share = weights(domains, given.zipf)
    busiest = images * share * shape().max() / 60  # images a second of each domain
    prices = {"gpu": given.gpu_hour, "cpu": given.vcpu_hour}
    fleets, alone = {}, {}
    for device, price in prices.items():
        image_s = seconds_per_image(inputs, device)
        running = replicas(per_minute * image_s / 60)
        hours = float(running.sum() / 60)
        fleets[device] = Fleet(float(running.mean()), int(running.max()), hours, hours * price)
        # An endpoint of its own has its domain's peak, and never fewer than one, day and night.
        alone[device] = np.maximum(np.ceil(busiest * image_s), 1) * 24
    endpoints = float(np.minimum(alone["gpu"] * prices["gpu"], alone["cpu"] * prices["cpu"]).sum())
    per_gpu = int(given.gpu_memory_gib * GIB / (inputs["gpu_model_mib"] * MIB))
    packed = max(math.ceil(domains / per_gpu), fleets["gpu"].peak) * 24.0

    slots = round(_setting("serve_slots"))
    requests = 20_000 if given.quick else 400_000
    cold = cold_share(share, max(1, round(fleets["gpu"].mean)), slots, requests, rng)

    jobs = domains * given.adaptations_per_month / 30
    job_hours = jobs * inputs["adapt_s"] / HOUR_S
    stored = (
        domains * given.versions_kept * (inputs["adapter_bytes"] + given.snapshot_images * inputs["snapshot_bytes"])
    )
    in_10k = domains / 10_000
    busy = {
        "submissions": jobs / DAY_S / inputs["submissions_per_s"],
        "reconciler passes": inputs["tick_10k_s"] * in_10k / _setting("reconcile_interval_s"),
        "routes publishing": jobs * inputs["promoted_share"] / DAY_S * inputs["publish_10k_s"] * in_10k,
        "UDAIR_MAX_CONCURRENT_JOBS": jobs * inputs["adapt_s"] / DAY_S / _setting("max_concurrent_jobs"),
        "UDAIR_TENANT_MAX_DOMAINS": domains / _setting("tenant_max_domains"),
        "UDAIR_SERVE_SLOTS": domains / _setting("serve_slots") / max(1.0, fleets["gpu"].mean),
    }
    cost = {
        "serving": min(fleet.cost for fleet in fleets.values()),
        "jobs": job_hours * inputs["adapt_cores"] * given.vcpu_hour,
        "storage": stored / GB * given.gb_month / 30,
        "control plane": 24 * given.control_vcpu * given.vcpu_hour,
    }
    return Scale(
        domains,
        images,
        fleets["gpu"],
        fleets["cpu"],
        job_hours * inputs["adapt_cores"],
        job_hours,
        jobs * inputs["adapt_s"] / DAY_S,
        cold,
        cold * images * inputs["cold_ms"] / 1000,
        stored / GB,
        cost,
        endpoints,
        float(alone["gpu"].sum()),
        packed,
        busy,
    )


def _setting(name: str) -> float:
    return float(Settings.model_fields[name].default)


def main() -> None:
    options = arguments(__doc__ or "", assumptions=ASSUMPTIONS)
    inputs = measured()
    rng = np.random.default_rng(options.seed)
    scales = [simulate(domains, inputs, options, rng) for domains in SCALES]
    figures: dict[str, Figure] = {}
    for scale in scales:
        for name, (value, unit) in _rows(scale).items():
            figures[f"{scale.domains}_{name}"] = Figure(round(value, 6), unit)
    last = scales[-1].busy
    setting = max((name for name in last if name.startswith("UDAIR_")), key=lambda name: last[name])
    hard = max((name for name in last if not name.startswith("UDAIR_")), key=lambda name: last[name])
    print(
        f"\nFull first: {setting} ({last[setting]:.1f} times its default at {SCALES[-1]} domains), which can be raised;"
    )
    print(f"of what cannot: {hard} (busy {100 * last[hard]:.1f} % of the time)\n")
    publish(
        "capacity",
        figures,
        options,
        assumptions={name: getattr(options, name) for name in ASSUMPTIONS},
        inputs={
            n: {"file": f"{file}.json", "figure": f, "value": inputs[n], "what": w}
            for n, (file, f, w) in INPUTS.items()
        },
        scales=[asdict(scale) for scale in scales],
        promoted_share=inputs["promoted_share"],
        full_first={"setting": setting, "other": hard},
    )
    if options.picture:
        _draw(scales, options.picture)


def _rows(scale: Scale) -> dict[str, tuple[float, str]]:
    return {
        "backbones_gpu_mean": (scale.gpu.mean, "GPUs"),
        "backbones_gpu_peak": (scale.gpu.peak, "GPUs"),
        "serving_gpu_hours": (scale.gpu.hours, "h a day"),
        "serving_vcpu_hours": (scale.cpu.hours, "h a day, instead"),
        "serving_on_gpu_cost": (scale.gpu.cost, "$ a day"),
        "serving_on_cpu_cost": (scale.cpu.cost, "$ a day, instead"),
        "job_vcpu_hours": (scale.job_vcpu_hours, "h a day"),
        "job_gpu_hours_bound": (scale.job_gpu_hours_bound, "h a day, at most"),
        "jobs_at_once": (scale.jobs_at_once, "mean"),
        "cold_share": (scale.cold_share, "share, on GPUs"),
        "storage": (scale.storage_gb, "GB"),
        "cost_per_day": (scale.cost_per_day, "$ a day"),
        "cost_per_domain": (scale.cost_per_day / scale.domains, "$ a day"),
        "serving_cost_share": (scale.cost["serving"] / scale.cost_per_day, "share"),
        "endpoint_per_domain_over_ours": (scale.over_ours(scale.endpoints), "times, the cheaper"),
        "endpoint_per_domain_gpu_hours": (scale.endpoints_gpu_hours / scale.gpu.hours, "times, GPU-hours"),
        "packed_models_gpu_hours": (scale.packed_gpu_hours / scale.gpu.hours, "times, GPU-hours"),
    }


def _draw(scales: list[Scale], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    domains = [scale.domains for scale in scales]
    left.loglog(domains, [scale.cost_per_day / scale.domains for scale in scales], "o-", label="all")
    for name in scales[0].cost:
        left.loglog(domains, [scale.cost[name] / scale.domains for scale in scales], ":", label=name, lw=1)
    left.set(xlabel="domains", ylabel="$ a day of a domain")
    for label, costs in (
        ("one endpoint a domain", [scale.endpoints for scale in scales]),
        ("shared backbones on GPUs", [scale.gpu.cost for scale in scales]),
        ("shared backbones on CPUs", [scale.cpu.cost for scale in scales]),
    ):
        right.loglog(domains, costs, "o-", label=label)
    right.set(xlabel="domains", ylabel="$ a day of serving")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
