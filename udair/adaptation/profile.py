"""What many images look like to the base model: how often each code and each source class is seen.

Axes: N images, K codes, G source classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from udair.adaptation.fitting import CROP
from udair.adaptation.phase_state import PhaseState
from udair.data.images import ImageArray
from udair.data.patches import mirrored, to_tensor
from udair.data.tasks import CLASSES
from udair.losses.alignment import cluster_distance
from udair.models.restorer import Restorer
from udair.source_stats import SourceStats

SAMPLE = 128

Array = npt.NDArray[np.float64]


class Embeddings(NamedTuple):
    """How the base model sees each of some images.

    Attributes:
        histogram_NK: Share of each code in an image.
        class_N: The source class whose cluster is nearest.
    """

    histogram_NK: Array
    class_N: npt.NDArray[np.int64]


@torch.no_grad()
def embed(model: Restorer, stats: SourceStats, images: Sequence[ImageArray]) -> Embeddings:
    """Embed the middle of each image, without an adapter."""
    seen = model.embed(to_tensor([_middle(image) for image in images], model.enter.weight.device))
    nearest_N = cluster_distance(seen.embedding_BD.float(), stats.centre_GD, stats.precision_GDD).argmin(1)
    return Embeddings(seen.histogram_BK.double().cpu().numpy(), nearest_N.cpu().numpy())


@dataclass
class Profile:
    """Sums over images, and the histograms of some of them; profiles of parts add up to that of the whole.

    Attributes:
        images: How many were seen.
        codes_K: Sum of the images' code histograms.
        classes_G: How many are nearest to each source class.
        sample_NK: Histograms of at most `SAMPLE` of the images, spread over all of them: the spread
            between images is what tells a drift from chance.
    """

    images: int
    codes_K: Array
    classes_G: npt.NDArray[np.int64]
    sample_NK: Array

    @classmethod
    def empty(cls, codes: int) -> Profile:
        """Of no image."""
        return cls(0, np.zeros(codes), np.zeros(len(CLASSES), np.int64), np.zeros((0, codes)))

    def add(self, embeddings: Embeddings) -> None:
        """Take in images."""
        self.merge(
            Profile(
                len(embeddings.class_N),
                embeddings.histogram_NK.sum(0),
                np.bincount(embeddings.class_N, minlength=len(CLASSES)),
                embeddings.histogram_NK,
            )
        )

    def merge(self, other: Profile) -> None:
        """Take in another part."""
        ours, theirs = self.sample_NK, other.sample_NK
        if len(ours) + len(theirs) > SAMPLE:  # each part keeps places by its share of the images
            keep = round(SAMPLE * self.images / (self.images + other.images))
            ours, theirs = _spread(ours, keep), _spread(theirs, SAMPLE - keep)
        self.sample_NK = np.concatenate([ours, theirs])
        self.images += other.images
        self.codes_K = self.codes_K + other.codes_K
        self.classes_G = self.classes_G + other.classes_G

    def to_state(self) -> PhaseState:
        """For a checkpoint; `from_state` reads it back."""
        arrays = {"codes_K": self.codes_K, "classes_G": self.classes_G, "sample_NK": self.sample_NK}
        return PhaseState({name: torch.from_numpy(array) for name, array in arrays.items()}, {"images": self.images})

    @classmethod
    def from_state(cls, state: PhaseState) -> Profile:
        """Read what `to_state` wrote."""
        arrays = (state.tensors[name].numpy() for name in ("codes_K", "classes_G", "sample_NK"))
        return cls(state.facts["images"], *arrays)

    @property
    def class_shares(self) -> dict[str, float]:
        """Share of images that are nearest to each source class."""
        return {
            name: round(float(count) / max(self.images, 1), 6)
            for name, count in zip(CLASSES, self.classes_G, strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """`profile.json`: shares, which a later look at the domain can be compared with."""
        return {
            "schema_version": 2,
            "images": self.images,
            "code_shares": [round(float(share), 6) for share in self.codes_K / max(self.images, 1)],
            "class_shares": self.class_shares,
            "sample": [[round(float(share), 4) for share in row] for row in self.sample_NK],
        }


def _spread(rows: Array, count: int) -> Array:
    """At most `count` rows, evenly spread."""
    return rows if len(rows) <= count else rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def _middle(image: ImageArray) -> ImageArray:
    """The middle `CROP` x `CROP` pixels; a smaller image is mirrored up to that size."""
    height, width = image.shape[:2]
    top, left = max(0, (height - CROP) // 2), max(0, (width - CROP) // 2)
    middle = image[top : top + CROP, left : left + CROP]
    rows, columns = (mirrored(torch.arange(CROP), torch.tensor(side)).numpy() for side in middle.shape[:2])
    return middle if middle.shape[:2] == (CROP, CROP) else middle[rows][:, columns]
