"""How a model knows where a token stands: learned embeddings, rotation, or distance penalties.

Learned embeddings are set beside the published sinusoidal encoding (Vaswani et al. 2017, section
3.5): PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(pos / 10000^(2i/d)). Rotary models
turn queries and keys by an angle that grows with the position (Su et al. 2021); ALiBi takes a
penalty off the scores that grows with the distance (Press et al. 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

Kind = Literal["learned", "rotary", "alibi", "none"]
_LEARNED = ("wpe", "embed_positions", "position_embeddings", "position_embedding")


@dataclass(frozen=True)
class Positions:
    """What is known of a model's positions; arrays that its kind does not have are None."""

    kind: Kind
    length: int
    """Positions that are described."""
    norms: np.ndarray | None = None
    """Learned: the length of each position's vector."""
    similarity: np.ndarray | None = None
    """Learned: cosine similarity [position][position]."""
    sinusoidal_similarity: np.ndarray | None = None
    """The same of the published sinusoidal encoding."""
    agreement: float | None = None
    """Correlation of the two similarity matrices."""
    spectrum: np.ndarray | None = None
    """Learned: share of the variance by frequency, in cycles over all positions, from 0."""
    wavelengths: np.ndarray | None = None
    """Rotary: tokens for a full turn, by pair of dimensions."""
    slopes: np.ndarray | None = None
    """ALiBi: the penalty for each token of distance, by head."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        row: dict[str, Any] = {"encoding": self.kind, "length": self.length}
        for name in ("norms", "similarity", "sinusoidal_similarity", "spectrum", "wavelengths",
                     "slopes"):  # fmt: skip
            value = getattr(self, name)
            if value is not None:
                row[name] = value.tolist()
        if self.agreement is not None:
            row["agreement"] = self.agreement
        return row


def positions(lm: Any, *, length: int | None = None) -> Positions:
    """Describe the first `length` positions, at most and by default the whole window."""
    model = lm.model
    body = model.base_model
    for part in (body, getattr(body, "decoder", None)):
        for name in _LEARNED:
            table = getattr(part, name, None)
            if isinstance(table, torch.nn.Embedding):
                # OPT keeps two rows at the beginning for padding.
                rows = table.weight[getattr(table, "offset", 0) :]
                return _learned(rows, length)
    count = length or lm.window or 2048
    rotation = getattr(body, "rotary_emb", None)
    if rotation is not None and hasattr(rotation, "inv_freq"):
        frequencies = rotation.inv_freq.detach().double().cpu().numpy()
        return Positions("rotary", count, wavelengths=2 * math.pi / frequencies)
    if model.config.model_type in ("bloom", "mpt") or getattr(model.config, "alibi", False):
        return Positions("alibi", count, slopes=_slopes(int(model.config.num_attention_heads)))
    return Positions("none", count)


def sinusoidal(length: int, width: int) -> np.ndarray:
    """The published encoding, (length, width); width is even or its last column is a sine."""
    at = np.arange(length)[:, None]
    turn = at / 10000 ** (np.arange(0, width, 2)[None] / width)
    table = np.zeros((length, width))
    table[:, 0::2] = np.sin(turn)
    table[:, 1::2] = np.cos(turn)[:, : width // 2]
    return table


def _learned(rows: torch.Tensor, length: int | None) -> Positions:
    table = rows[:length].detach().double().cpu().numpy()
    own, published = _cosines(table), _cosines(sinusoidal(*table.shape))
    centred = table - table.mean(axis=0)
    power = (np.abs(np.fft.rfft(centred, axis=0)) ** 2).sum(axis=1)
    return Positions(
        "learned",
        len(table),
        norms=np.linalg.norm(table, axis=1),
        similarity=own,
        sinusoidal_similarity=published,
        agreement=float(np.corrcoef(own.ravel(), published.ravel())[0, 1]),
        spectrum=power / max(power.sum(), 1e-12),
    )


def _cosines(table: np.ndarray) -> np.ndarray:
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    found: np.ndarray = unit @ unit.T
    return found


def _slopes(heads: int) -> np.ndarray:
    """ALiBi's slopes: a geometric sequence, filled up for head counts that are no power of 2."""
    nearest = 2 ** math.floor(math.log2(heads))
    first = [2 ** (-8 * (at + 1) / nearest) for at in range(nearest)]
    more = [2 ** (-4 * (2 * at + 1) / nearest) for at in range(heads - nearest)]
    return np.array(first + more)
