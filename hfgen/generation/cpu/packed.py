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
_TINY = torch.tensor(1e-30)


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
        self.bias = None if bias is None else bias.float()
        scale = _scale(weight.float())
        # Kept transposed: `_int_mm` reads (in, out) with the channels' values side by side.
        self._values = (weight.float() / scale).round_().to(torch.int8).t()
        self._scale = scale[:, 0].contiguous()
        self._activation = None
        if activation is not None:
            self._activation = "tanh" if activation == "gelu_tanh" else "none"

    @property
    def weight(self) -> torch.Tensor:
        """The weight (out, in), as rounded."""
        return self._values.t().float() * self._scale[:, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        if x.dim() != 2:
            flat = self.forward(x.reshape(-1, self.in_features))
            return flat.view(*x.shape[:-1], self.out_features)
        rows = x.float()
        scale = _scale(rows)
        product = self._sums(rows / scale) * self._scale
        if self.bias is None:
            product.mul_(scale)
        else:
            product = torch.addcmul(self.bias, product, scale)
        if self._activation is not None:
            product = nn.functional.gelu(product, approximate=self._activation)
        return product.to(x.dtype)

    def _sums(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (B, in), from -127 to 127, times the weights' integers: (B, out)."""
        if self.in_features <= self.out_features:
            return torch._int_mm(rows.round_().to(torch.int8), self._values)
        values = rows.round()
        # What is left is from -0.5 to 0.5, and is rounded to integers from -127 to 127.
        rest = rows.sub_(values).mul_(2 * _LARGEST).round_()
        if len(rows) == 1:
            # Two products of a vector are faster than one of a matrix with two rows.
            first, second = (
                torch._int_mm(part.to(torch.int8), self._values) for part in (values, rest)
            )
        else:
            both = torch.cat([values, rest]).to(torch.int8)
            first, second = torch._int_mm(both, self._values).chunk(2)
        return first.float().add_(second, alpha=0.5 / _LARGEST)


def _scale(rows: torch.Tensor) -> torch.Tensor:
    """What each row (..., 1) is divided by; never 0."""
    # Not the norm for infinity, which does the same up to twenty times slower.
    return torch.add(_TINY, rows.abs().amax(-1, keepdim=True), alpha=1 / _LARGEST)
