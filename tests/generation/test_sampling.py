"""Gumbel-argmax on devices that this machine need not have."""

from __future__ import annotations

import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from hfgen.generation.sampling.draw import draw


def test_tokens_come_back_on_the_device_of_their_scores() -> None:
    """MPS has no float64: what is drawn on the CPU has to go back, or it cannot be assigned."""
    with FakeTensorMode(shape_env=ShapeEnv()):
        scores = torch.empty(2, 50, device="mps")
        drawn = draw(scores, seeds=[1, 2], steps=[0, 3])
        assert drawn.device.type == scores.device.type == "mps"
        assert (drawn.shape, drawn.dtype) == ((2,), torch.int64)
