"""How likely each token of a text was, and what else the model expected there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from hfgen.errors import DataError
from hfgen.explain.inside import encode, look
from hfgen.generation.text import Vocabulary


@dataclass(frozen=True)
class TokenScore:
    """A token under the distribution that the text before it gives."""

    token: str
    probability: float
    rank: int
    """How many tokens are more likely."""
    surprisal: float
    """Bits."""
    entropy: float
    """Bits, of the whole distribution: how unsure the model was before it."""
    alternatives: tuple[tuple[str, float], ...]
    """(token, probability) of the most likely tokens."""
    sure_from: int
    """The layer from which on the logit lens names the model's own choice; 0 is the embedding."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "token": self.token,
            "probability": self.probability,
            "rank": self.rank,
            "surprisal_bits": self.surprisal,
            "entropy_bits": self.entropy,
            "alternatives": [{"token": t, "probability": p} for t, p in self.alternatives],
            "sure_from_layer": self.sure_from,
        }


def tokens(lm: Any, text: str, *, top: int = 5, bos: bool = True) -> list[TokenScore]:
    """Score each token of a text but the first, which has nothing before it.

    With `bos` the first follows the token that begins texts, where the model has one. A text longer
    than the window is cut. Raises `DataError` for a text of one token.
    """
    from hfgen.explain.logit_lens import most_likely_by_layer

    encoded = encode(lm, text, bos=bos)
    if len(encoded.ids) < 2:
        raise DataError("the text has one token: there is nothing to predict")
    inside = look(lm, encoded.ids)
    table = torch.log_softmax(inside.logits[:-1].double(), dim=-1)
    ids = torch.tensor(encoded.ids[1:], device=table.device)
    own = table.gather(1, ids[:, None])
    ranks = (table > own).sum(dim=-1).tolist()
    entropies = (-(table.exp() * table).sum(dim=-1) / math.log(2)).tolist()
    values, best = table.exp().topk(min(top, table.shape[-1]), dim=-1)
    decode = Vocabulary(lm.tokenizer).token_text
    by_layer = most_likely_by_layer(lm, inside)[:, :-1]
    found = []
    for at, logprob in enumerate(own[:, 0].tolist()):
        pairs = zip(best[at].tolist(), values[at].tolist(), strict=True)
        agrees = (by_layer[:, at] == by_layer[-1, at]).tolist()
        found.append(
            TokenScore(
                token=encoded.tokens[at + 1],
                probability=math.exp(logprob),
                rank=int(ranks[at]),
                surprisal=-logprob / math.log(2),
                entropy=float(entropies[at]),
                alternatives=tuple((decode(i), p) for i, p in pairs),
                sure_from=len(agrees) - _run_at_end(agrees),
            )
        )
    return found


def _run_at_end(values: list[bool]) -> int:
    """How many at the end are true, one after the other."""
    count = 0
    for value in reversed(values):
        if not value:
            break
        count += 1
    return count
