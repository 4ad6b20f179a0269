"""What the world does to images: seeded families, batched on the device."""

from udair.data.degradations.chain import FAMILIES, SOURCE_CHAINS, TONE_FAMILIES, Chain
from udair.data.degradations.family import Family, Parameter, Range

__all__ = ["FAMILIES", "SOURCE_CHAINS", "TONE_FAMILIES", "Chain", "Family", "Parameter", "Range"]
