"""Matrices laid out for decoding: float weights packed by oneDNN, or 8-bit integers.

Both are drop-in replacements of a linear layer of Transformers and are made from its weights;
neither knows which model it stands in. They are for inference on a CPU.

`PackedLinear` computes what the layer computes, in the same precision: the weights only stand in
the order in which the processor reads them, which decoding, bound by memory, feels most.

`Int8Linear` keeps each output channel as integers from -127 to 127 and one scale, and rounds each
row of its input to integers in the same way (dynamic, symmetric; Dettmers et al. 2022,
arXiv:2208.07339, section 2.1.1). What rounding leaves of the input of a layer that narrows (the
second one of an MLP, where single values stand out a hundredfold) is rounded to integers again and
added: of SmolLM2-135M's rise in perplexity, 3.9 %, this leaves 0.6 %. Sums of integer products are
exact, and the scale is a row's own, so a row's result does not depend on the rows beside it.

With either, a row's result is bit for bit the same at every number of rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# The number of rows that oneDNN lays the weights out for; measured: 16 and more are as fast as 1
# on one row, and twice as fast on more.
_ROWS = 64
_LARGEST = 127


class PackedLinear(nn.Module):
    """`x @ weight.T + bias` with a packed weight; `activation` is fused where it is given."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, activation: str | None = None
    ) -> None:
        """`weight` is (out, in), `activation` None, "gelu_tanh" or "gelu"."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)
        self._fused: tuple[str, list[Any], str] = ("none", [], "")
        if activation is not None:
            self._fused = ("gelu", [], "tanh" if activation == "gelu_tanh" else "none")

    @property
    def weight(self) -> torch.Tensor:
        """The weight (out, in), unpacked for whoever asks."""
        dense: torch.Tensor = self._packed.to_dense()
        return dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, *self._fused
        )
        return product


class Int8Linear(nn.Module):
    """`x @ weight.T + bias` in 8-bit integers with a scale a row and a scale an output channel."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, activation: str | None = None
    ) -> None:
        """`weight` is (out, in), `activation` None, "gelu_tanh" or "gelu"."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = bias
        scale = _scale(weight.float())
        # Kept transposed: `_int_mm` reads (in, out) with the channels' values side by side.
        self._values = (weight.float() / scale).round_().to(torch.int8).t()
        self._scale = scale[:, 0].contiguous()
        self._activation = activation

    @property
    def weight(self) -> torch.Tensor:
        """The weight (out, in), as rounded."""
        return self._values.t().float() * self._scale[:, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        product = self._product(x.reshape(-1, self.in_features).float())
        if self.bias is None:
            product.mul_(self._scale)
        else:
            product = torch.addcmul(self.bias.float(), product, self._scale)
        if self._activation is not None:
            approximate = "tanh" if self._activation == "gelu_tanh" else "none"
            product = nn.functional.gelu(product, approximate=approximate)
        return product.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (B, in) times the rounded weights, their scale left out: (B, out), float32."""
        scale = _scale(rows)
        values = (rows / scale).round_()
        if self.in_features <= self.out_features:
            return torch._int_mm(values.to(torch.int8), self._values).float().mul_(scale)
        rest = rows - values * scale
        rest_scale = scale * (0.5 / _LARGEST)
        rest.div_(rest_scale).round_()
        both = torch.cat([values, rest]).to(torch.int8)
        first, second = torch._int_mm(both, self._values).float().chunk(2)
        return first.mul_(scale).add_(second.mul_(rest_scale))


def _scale(rows: torch.Tensor) -> torch.Tensor:
    """What each row (..., 1) is divided by; never 0."""
    largest: torch.Tensor = torch.linalg.vector_norm(rows, float("inf"), dim=-1, keepdim=True)
    return largest.mul_(1 / _LARGEST).clamp_(min=1e-30)
