"""Turn a trained restorer into a base model: source statistics, replay scenes, manifest.

    python -m udair.publishing --checkpoint runs/source --data photos --out bundles/mine --name mine

Writes what `python -m udair.training` trained; needs neither ray nor a network.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from udair.bundle import load_bundle, save_bundle
from udair.checkpoint import CLOCK
from udair.config import ModelConfig, TrainConfig
from udair.data.images import pixel_hash
from udair.data.patches import PatchSource, read_folder
from udair.data.scenes import dead_leaves
from udair.errors import ConfigError
from udair.models.restorer import Restorer
from udair.source_stats import source_statistics
from udair.training import SourceTrainer
from udair.weights import TRAINING_LIST


def publish_bundle(
    folder: Path,
    name: str,
    model: Restorer,
    source: PatchSource,
    *,
    replay_scenes: int = 64,
    replay_side: int = 128,
    statistics_batches: int = 40,
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
) -> str:
    """Compute a base model's statistics, generate its replay set, and write the bundle.

    Args:
        folder: Where the bundle goes.
        name: What the base model is called.
        model: Trained restorer in evaluation mode.
        source: Photographs that statistics are taken from; none of them is stored.
        replay_scenes, replay_side: How many scenes are generated, and their side in pixels.
        statistics_batches: Batches of 32 patches.
        seed: Of the replay scenes.
        card: Facts for the manifest.

    Returns:
        The bundle's digest.
    """
    statistics = source_statistics(model, source, batches=statistics_batches)
    # Generated scenes: the base model carries nobody's photographs to its customers.
    scenes = dead_leaves(replay_scenes, replay_side, seed=seed)
    replay = torch.stack([torch.from_numpy(scene).permute(2, 0, 1) for scene in scenes])
    return save_bundle(folder, name, model, statistics, replay, card)


def training_list(folders: Sequence[Path]) -> list[str]:
    """Pixel hashes of every image below `folders`: what a model saw, without showing it.

    Benchmarks check against it that no test image was trained on.
    """
    return sorted({pixel_hash(image) for folder in folders for image in read_folder(folder)})


def between(earlier: Restorer, later: Restorer, share: float, codes_share: float | None = None) -> Restorer:
    """A model on the line from one to another that was trained on from it for a short time.

    Keeps what the earlier one did well on images that the later run unlearned (Wortsman et al. 2022,
    WiSE-FT). After a long run the codes have moved past each other, and nothing on the line works (docs/adr/0011).

    Args:
        earlier, later: The ends: `share` 0 and 1.
        share: Of the later weights.
        codes_share: Of the later codes, which small batches move at random; None is `share`.

    Raises:
        ConfigError: They are of different architectures.
    """
    if earlier.config != later.config:
        raise ConfigError(f"cannot mix a {earlier.config.name} and a {later.config.name}; expected one architecture.")
    before, codes_share = earlier.state_dict(), share if codes_share is None else codes_share
    mixed = {
        name: before[name].lerp(tensor, codes_share if "codebook" in name else share)
        for name, tensor in later.state_dict().items()
    }
    model = copy.deepcopy(later)
    model.load_state_dict(mixed)
    return model.eval()


def main() -> None:
    """Publish a checkpoint of `python -m udair.training`."""
    parser = argparse.ArgumentParser(description="Publish a checkpoint as a base model.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that training wrote")
    parser.add_argument(
        "--data", type=Path, required=True, nargs="+", help="folders of clean photographs, for statistics"
    )
    parser.add_argument("--pairs", type=Path, help="folder of real pairs that training used, for the list of images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--name", required=True, help="what the base model is called")
    parser.add_argument("--earlier", type=Path, help="base model that training started from, to mix with")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the checkpoint in that mix; choose on held-out photographs"
    )
    parser.add_argument("--codes-share", type=float, help="of the checkpoint's codes; --share if it is not given")
    parser.add_argument("--card", type=Path, help="JSON file of facts for the manifest")
    parser.add_argument("--replay-scenes", type=int, default=64)
    parser.add_argument("--replay-side", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    clock = json.loads((options.checkpoint / CLOCK).read_text())
    source = PatchSource([image for folder in options.data for image in read_folder(folder)])
    trainer = SourceTrainer(ModelConfig.from_dict(clock["size"]), TrainConfig(**clock["train"]), source)
    trainer.load(options.checkpoint)
    card = {
        "steps": trainer.steps,
        "seconds": round(trainer.spent_s, 1),
        "images": len(source),
        "train": clock["train"],
    }
    model = trainer.averaged()
    if options.earlier:
        earlier = load_bundle(options.earlier, replay=False)
        model = between(earlier.model, model, options.share, options.codes_share)
        card["mixed"] = {"with": earlier.digest, "share": options.share, "codes_share": options.codes_share}
    card |= json.loads(options.card.read_text()) if options.card else {}
    digest = publish_bundle(
        options.out,
        options.name,
        model,
        source,
        replay_scenes=options.replay_scenes,
        replay_side=options.replay_side,
        seed=options.seed,
        card=card,
    )
    seen = training_list([*options.data, *([options.pairs] if options.pairs else [])])
    (options.out / TRAINING_LIST).write_text("\n".join(seen) + "\n")
    print(f"{options.name} {digest}, trained on {len(seen)} images")


if __name__ == "__main__":
    main()
