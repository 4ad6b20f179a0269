"""Seconds of every stage of the main job, from bucket to restored pixels, and what it gained.

python benchmarks/demo.py --json benchmarks/results/demo.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from report import Figure, arguments, publish


def main() -> None:
    options = arguments(__doc__ or "")
    reports = []
    for repeat in range(1 if options.quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "udair_platform.cli", "demo", "--out", folder, "--seed", str(options.seed)]
            print(f"run {repeat + 1}", file=sys.stderr, flush=True)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            reports.append(json.loads((Path(folder) / "report.json").read_text()))

    def over(*path: str) -> list[float]:
        values = []
        for report in reports:
            value: object = report
            for name in path:
                value = value[name]  # type: ignore[index]
            values.append(float(value))  # type: ignore[arg-type]
        return values

    stages = [name for name in reports[0]["seconds"] if name not in ("total", "start")]
    figures = {"demo_total_s": Figure.median_of(over("seconds", "total"), "s", floor=180.0, aim=90.0)}
    figures |= {f"demo_{name}_s": Figure.median_of(over("seconds", name), "s") for name in stages}
    gains = [report["psnr_db"]["served"] - report["psnr_db"]["source"] for report in reports]
    figures["demo_gain_db"] = Figure.median_of(gains, "dB", floor=0.0)
    figures["demo_harmed_share"] = Figure.median_of(over("harmed_share"), "share")
    figures["demo_restore_p50_ms"] = Figure.median_of(over("serving", "p50_ms"), "ms")
    publish("demo", figures, options)


if __name__ == "__main__":
    main()
