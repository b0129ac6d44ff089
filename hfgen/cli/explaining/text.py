"""Explanations on a terminal; every value can be read without colour."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hfgen.cli.io.colours import Style, style_of

if TYPE_CHECKING:
    from hfgen.explain.attention_maps import Attention, HeadScore
    from hfgen.explain.attribution import Attribution
    from hfgen.explain.logit_lens import Lens
    from hfgen.explain.position_encoding import Positions
    from hfgen.explain.token_scores import TokenScore
    from hfgen.explain.verification import Verified

Piece = tuple[str, Style]
_SHADES = " ·░▒▓█"
_MATRIX, _CELL, _BAR = 40, 12, 30
_EQUAL = 1e-5


def _plain(text: str) -> Piece:
    return text, Style.PLAIN


def _quoted(token: str, width: int | None = None) -> str:
    text = json.dumps(token, ensure_ascii=False)
    if width is None or len(text) <= width:
        return text
    return text[: width - 1] + "…"


def tokens_text(found: Sequence[TokenScore]) -> list[Piece]:
    """A line for each token."""
    pieces = [_plain("token             prob   rank  bits  unsure  layer  instead\n")]
    for one in found:
        others = ", ".join(
            f"{_quoted(token)} {probability:.0%}"
            for token, probability in one.alternatives
            if token != one.token
        )
        style = style_of(-one.surprisal * math.log(2))
        pieces.append((f"{_quoted(one.token, 16):<16}", style))
        pieces.append(
            _plain(
                f"{one.probability:>6.1%}{one.rank:>7,}{one.surprisal:>6.1f}{one.entropy:>8.1f}"
                f"{one.sure_from:>7}  {others}\n"
            )
        )
    return pieces


def attention_text(found: Attention) -> list[Piece]:
    """What each head looks at; of a single head, its weights."""
    if len(found.layers) == len(found.heads) == 1:
        return _matrix(found)
    pieces = []
    for row, layer in enumerate(found.layers):
        for column, head in enumerate(found.heads):
            weights = found.weights[row, column]
            previous = weights.diagonal(-1)
            shares = [
                ("first", weights[1:, 0].mean() if len(weights) > 1 else 1.0),
                ("previous", previous.mean() if len(previous) else 0.0),
                ("itself", weights.diagonal().mean()),
            ]
            told = "  ".join(f"{name} {share:>4.0%}" for name, share in shares)
            looks = _most(found.tokens, weights[-1], 3)
            pieces.append(
                _plain(f"layer {layer:>2} head {head:>2}  {told}  last token reads {looks}\n")
            )
    through = _most(found.tokens, found.rollout[-1], 5)
    return [*pieces, _plain(f"through all layers (rollout) the last token reads {through}\n")]


def _most(tokens: Sequence[str], weights: Any, count: int) -> str:
    best = sorted(range(len(weights)), key=lambda at: -weights[at])[:count]
    return ", ".join(f"{_quoted(tokens[at])} {weights[at]:.0%}" for at in best)


def _matrix(found: Attention) -> list[Piece]:
    """One head's weights, shaded; of a long text the end."""
    table = found.weights[0, 0][-_MATRIX:, -_MATRIX:]
    names = found.tokens[-_MATRIX:]
    title = f"layer {found.layers[0]} head {found.heads[0]}: each row is what a token reads\n"
    pieces = [_plain(title)]
    most = len(_SHADES) - 1
    for name, row in zip(names, table, strict=True):
        cells = "".join(_SHADES[round(min(1.0, float(weight)) * most)] * 2 for weight in row)
        pieces.append(_plain(f"{_quoted(name, 14):<14} {cells}  {_most(names, row, 1)}\n"))
    return pieces


def verify_text(found: Sequence[Verified]) -> list[Piece]:
    """How far each layer is from the formula."""
    pieces = [_plain("layer  scale             weights differ by  output differs by\n")]
    for one in found:
        scale = f"{one.scale:.4g}" + (" = 1/√d" if one.is_root else "")
        errors = f"{one.weights_error:<17.1e}  {one.output_error:.1e}"
        pieces.append(_plain(f"{one.layer:>5}  {scale:<16}  {errors}\n"))
    worst = max(max(one.weights_error, one.output_error) for one in found)
    says = "softmax(QKᵀ·scale)V holds" if worst < _EQUAL else "differs from softmax(QKᵀ·scale)V"
    return [*pieces, _plain(f"{says}: largest difference {worst:.1e}\n")]


def lens_text(found: Lens) -> list[Piece]:
    """What each layer says comes after the last token, then the most likely everywhere."""
    pieces = [_plain(f"after {_quoted(found.tokens[-1])}, the model would say\n")]
    for layer, places, kl in zip(found.layers, found.top, found.kl, strict=True):
        said = "  ".join(f"{_quoted(token)} {p:.0%}" for token, p in places[-1])
        name = "embedding" if layer == 0 else f"layer {layer}"
        pieces.append(_plain(f"{name:<10} KL {kl[-1]:>6.2f}  {said}\n"))
    count = max(1, (shutil.get_terminal_size().columns - _CELL) // _CELL)
    shown = range(max(0, len(found.tokens) - count), len(found.tokens))
    pieces.append(_plain("\nmost likely next token by layer\n"))
    pieces.append(_row("", [found.tokens[at] for at in shown]))
    for layer, places in zip(found.layers, found.top, strict=True):
        pieces.append(_row(str(layer), [places[at][0][0] for at in shown]))
    return pieces


def _row(name: str, tokens: Sequence[str]) -> Piece:
    cells = "".join(f"{_quoted(token, _CELL - 1):<{_CELL}}" for token in tokens)
    return _plain(f"{name:<{_CELL - 2}}{cells}".rstrip() + "\n")


def attribute_text(found: Attribution) -> list[Piece]:
    """A bar for each token."""
    what = f"log-probability of {_quoted(found.target)}"
    if found.instead is not None:
        what += f" less that of {_quoted(found.instead)}"
    at_baseline = f"{found.baseline_value:.3f} with the {found.baseline} baseline"
    pieces = [_plain(f"{what}: {found.value:.3f} ({at_baseline}), by {found.method}\n")]
    most = max(map(abs, found.scores), default=0) or 1.0
    for token, score in zip(found.tokens, found.scores, strict=True):
        bar = ("+" if score >= 0 else "-") * round(abs(score) / most * _BAR)
        style = Style.LIKELY if score >= 0 else Style.SURPRISING
        pieces += [_plain(f"{_quoted(token, 16):<16} {score:>+8.3f}  "), (bar + "\n", style)]
    if found.completeness_error is not None:
        error = f"completeness error {found.completeness_error:.2%} after {found.steps} steps"
        note = "" if found.completeness_error < 0.01 else ": take the scores as rough"
        pieces.append(_plain(f"{error}{note}\n"))
    return pieces


def positions_text(found: Positions) -> list[Piece]:
    """What is known of a model's positions."""
    if found.kind == "learned":
        assert found.norms is not None and found.similarity is not None
        assert found.spectrum is not None and found.agreement is not None
        near = [found.similarity.diagonal(by).mean() for by in (1, 8, 64) if by < found.length]
        low = found.spectrum[:5].sum()
        text = (
            f"learned: a vector for each of {found.length:,} positions\n"
            f"norms            {found.norms.min():.2f} to {found.norms.max():.2f}\n"
            f"similarity       {', '.join(f'{v:.2f}' for v in near)} at 1, 8, 64 tokens apart\n"
            f"slow waves       {low:.0%} of the variance is in the five lowest frequencies\n"
            f"sinusoidal       correlation with the published encoding {found.agreement:.2f}\n"
        )
    elif found.kind == "rotary":
        assert found.wavelengths is not None
        text = (
            "rotary: queries and keys are turned by an angle that grows with the position\n"
            f"wavelengths      {found.wavelengths.min():.1f} to {found.wavelengths.max():,.0f} "
            f"tokens for a full turn, in {len(found.wavelengths)} pairs of dimensions\n"
        )
    elif found.kind == "alibi":
        assert found.slopes is not None
        slopes = ", ".join(f"{v:.3g}" for v in found.slopes)
        text = f"ALiBi: scores fall with the distance, by head {slopes} for each token\n"
    else:
        text = "the model has no position encoding that hfgen knows\n"
    return [(text, Style.PLAIN)]


def heads_text(found: Sequence[HeadScore]) -> list[Piece]:
    """A line for each head, the strongest kind marked."""
    lines = [_plain("head    previous  duplicate  induction  first\n")]
    for one in found:
        kinds = {
            "previous token": one.previous,
            "duplicate token": one.duplicate,
            "induction": one.induction,
            "first token (sink)": one.first,
        }
        best = max(kinds, key=lambda name: kinds[name])
        mark = best if kinds[best] >= 0.4 else ""
        lines.append(
            (
                f"{one.layer:>2}.{one.head:<4} {one.previous:>8.2f}  {one.duplicate:>9.2f}  "
                f"{one.induction:>9.2f}  {one.first:>5.2f}  {mark}".rstrip()
                + "\n",
                Style.PLAIN,
            )
        )
    return lines
