"""The logit lens: what the model would say if it stopped after a layer.

The residual stream after each layer goes through the final norm, which is computed for that layer's
own values, and the output head (nostalgebraist 2020, "interpreting GPT: the logit lens"). The last
row is the model's own output. Early layers are not trained to be read so: what they say is a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hfgen.errors import ModelUnsupported
from hfgen.explain.inside import Inside, chosen, encode, final_norm, look
from hfgen.generation.text import Vocabulary

_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Lens:
    """Axes: layer (0 is the embedding), position, and for `top` the most likely first."""

    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    top: tuple[tuple[tuple[tuple[str, float], ...], ...], ...]
    """[layer][position]: (token, probability) pairs of what comes next."""
    kl: np.ndarray
    """[layer][position]: KL(output || layer), nats."""
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "tokens": list(self.tokens),
            "layers": list(self.layers),
            "top": [
                [[{"token": t, "probability": p} for t, p in place] for place in layer]
                for layer in self.top
            ],
            "kl": self.kl.tolist(),
            "axes": ["layer", "position"],
            "left_out": self.left_out,
        }


def lens(
    lm: Any, text: str, *, top: int = 3, layers: Sequence[int] | None = None, bos: bool = False
) -> Lens:
    """Read every layer of every position of a text, the beginning that fits the window.

    Raises `ModelUnsupported` where the last row is not the model's own output (the model does more
    than its final norm and head), `UsageError` for a layer that is not there.
    """
    encoded = encode(lm, text, bos=bos)
    inside = look(lm, encoded.ids)
    asked = chosen(len(inside.residuals), None if layers is None else list(layers), "layer")
    output = torch.log_softmax(inside.logits.double(), dim=-1)
    _check(lm, inside)
    decode = Vocabulary(lm.tokenizer).token_text
    rows, divergences = [], []
    for layer in asked:
        table = torch.log_softmax(_read(lm, inside.residuals[layer]).double(), dim=-1)
        divergences.append((output.exp() * (output - table)).sum(dim=-1).cpu().numpy())
        values, ids = table.exp().topk(min(top, table.shape[-1]), dim=-1)
        rows.append(
            tuple(
                tuple((decode(i), p) for i, p in zip(place_ids, place_values, strict=True))
                for place_ids, place_values in zip(ids.tolist(), values.tolist(), strict=True)
            )
        )
    kl = np.maximum(np.stack(divergences), 0)
    return Lens(encoded.tokens, tuple(asked), tuple(rows), kl, encoded.left_out)


def most_likely_by_layer(lm: Any, inside: Inside) -> torch.Tensor:
    """The most likely token's id after each layer: (layers + 1, T)."""
    return torch.stack([_read(lm, residual).argmax(dim=-1) for residual in inside.residuals])


@torch.inference_mode()
def _read(lm: Any, residual: torch.Tensor) -> torch.Tensor:
    """Logits (T, V) of a residual stream (T, E)."""
    model = lm.model
    head = model.get_output_embeddings()
    hidden = final_norm(model)(residual.to(model.dtype))
    project = getattr(getattr(model.base_model, "decoder", None), "project_out", None)
    if project is not None:
        hidden = project(hidden)
    logits: torch.Tensor = head(hidden).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _check(lm: Any, inside: Inside) -> None:
    last = _read(lm, inside.residuals[-1])
    if float((last - inside.logits).abs().max()) > _TOLERANCE * float(inside.logits.abs().max()):
        raise ModelUnsupported(
            f"the logit lens does not give the output of {lm.model.config.model_type} models",
            hint="hfgen explain tokens works with them",
        )
