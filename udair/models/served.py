"""The model as pictures are restored with it: its layout, and convolutions in half the bits where that costs nothing.

Of a pass on a CPU nearly nine tenths are the convolutions of dense blocks. In bfloat16 they take half the time where
the processor multiplies it (AVX-512 BF16, AMX); all else stays in float32, the sum of the blocks' changes above all.
Stored weights are bfloat16 already (`udair/models/stored.py`), so that only features are rounded: of 255 levels, a pixel
may be the next (docs/adr/0027).
"""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch

from udair.models.blocks import DenseBlock
from udair.models.restorer import Restorer


def as_served(model: Restorer) -> Restorer:
    """A copy as endpoints, batch jobs and galleries run it: the same pixels in all of them.

    On GPUs it changes the layout alone: who runs the model there chooses how (autocast).

    Args:
        model: In evaluation mode, on its device; it is left as it is.
    """
    served = cast(Restorer, deepcopy(model).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    if served.enter.weight.device.type == "cpu" and multiplies_bfloat16():
        for block in served.modules():
            if isinstance(block, DenseBlock):
                block.halved = True
                block.first.bfloat16()
                block.second.bfloat16()
    return served


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it; without them bfloat16 is slower than float32."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
