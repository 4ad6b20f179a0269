"""Where the shipped base models lie. Torch-free: the control plane reads their manifests too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from udair.errors import BundleError

MANIFEST = "bundle.json"
TRAINING_LIST = "training_images.txt"  # pixel hashes of what the model was trained on


def packaged(name: str = "base") -> Path:
    """Folder of the shipped base model called `name`.

    Raises:
        BundleError: No base model of that name is shipped.
    """
    folder = Path(__file__).parent / name
    if not (folder / MANIFEST).is_file():
        shipped = sorted(p.parent.name for p in Path(__file__).parent.glob(f"*/{MANIFEST}"))
        raise BundleError(f"no shipped base model is called {name!r}; there are: {', '.join(shipped) or 'none'}.")
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest (`bundle.json`) of the base model in `folder`: name, digest, files, config.

    Raises:
        BundleError: There is no manifest, so the base model's publication did not finish.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise BundleError(f"{folder} has no {MANIFEST}, so its publication did not finish; publish it again.") from None
    except ValueError as error:
        raise BundleError(f"{path} is no JSON ({error}); publish the base model again.") from error
    return manifest
