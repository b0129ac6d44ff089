"""Seeing inside a model: what each function returns are plain arrays with named axes.

`tokens` says how sure the model was of each token, `attention` where its heads look, `lens` what
it would have said after each layer, `attribute` which tokens drove an answer, `positions` how it
knows where a token stands. All compute with the stock model, by the formulas of its own layers.

    import hfgen
    lm = hfgen.load("storyteller")
    found = hfgen.explain.attention(lm, "Once upon a time")
    found.weights[0, 2]            # layer 0, head 2: (query, key)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfgen.explain.attention_maps import attention, head_scores
    from hfgen.explain.attribution import attribute
    from hfgen.explain.logit_lens import lens
    from hfgen.explain.position_encoding import positions
    from hfgen.explain.token_scores import tokens
    from hfgen.explain.verification import verify

_PUBLIC = {
    "attention": "hfgen.explain.attention_maps",
    "attribute": "hfgen.explain.attribution",
    "head_scores": "hfgen.explain.attention_maps",
    "lens": "hfgen.explain.logit_lens",
    "positions": "hfgen.explain.position_encoding",
    "tokens": "hfgen.explain.token_scores",
    "verify": "hfgen.explain.verification",
}

__all__ = ["attention", "attribute", "head_scores", "lens", "positions", "tokens", "verify"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
