"""An explanation as a picture, by matplotlib; colours that colour-blind readers can tell apart."""

from __future__ import annotations

import importlib.util
import io
import json
from typing import Any

from hfgen.errors import MissingExtra

_SEQUENTIAL, _DIVERGING = "cividis", "PuOr_r"
_MOST_NAMES = 60


def picture(document: dict[str, Any], kind: str) -> bytes:
    """The picture of a document that `hfgen explain --json` would write, as png or svg."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("a picture", "explain")
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained", dpi=120)
    _DRAW[document["kind"]](figure, document)
    figure.suptitle(f"{document['kind']}: {document['model']}", fontsize=10)
    target = io.BytesIO()
    figure.savefig(target, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return target.getvalue()


def _attention(figure: Any, document: dict[str, Any]) -> None:
    layers, heads = document["layers"], document["heads"]
    is_single = len(layers) == len(heads) == 1
    side = max(4.0, min(12.0, len(document["tokens"]) / 4)) if is_single else 1.3
    figure.set_size_inches(max(4, side * len(heads)), max(4, side * len(layers)))
    axes = figure.subplots(len(layers), len(heads), squeeze=False)
    for row, layer in enumerate(layers):
        for column, head in enumerate(heads):
            axis = axes[row][column]
            axis.imshow(document["weights"][row][column], vmin=0, vmax=1, cmap=_SEQUENTIAL)
            if is_single:
                axis.set(xlabel="key", ylabel="query", title=f"layer {layer} head {head}")
                _name(axis, document["tokens"], both=True)
            else:
                axis.set(xticks=[], yticks=[])
                axis.set_title(f"{layer}.{head}", fontsize=7, pad=2)


def _lens(figure: Any, document: dict[str, Any]) -> None:
    tokens, layers = document["tokens"], document["layers"]
    figure.set_size_inches(max(5, 0.75 * len(tokens)), max(3, 0.4 * len(layers) + 1))
    axis = figure.subplots()
    table = [[place[0]["probability"] for place in layer] for layer in document["top"]]
    axis.imshow(table, vmin=0, vmax=1, cmap=_SEQUENTIAL, aspect="auto")
    if len(tokens) <= _MOST_NAMES:
        for row, layer in enumerate(document["top"]):
            for column, place in enumerate(layer):
                colour = "white" if place[0]["probability"] < 0.6 else "black"
                text = _short(place[0]["token"])
                axis.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    axis.set_yticks(range(len(layers)), [str(layer) for layer in layers], fontsize=7)
    axis.set(ylabel="layer")
    _name(axis, tokens)


def _attribute(figure: Any, document: dict[str, Any]) -> None:
    tokens, scores = document["tokens"], document["scores"]
    figure.set_size_inches(6, max(2.5, 0.22 * len(tokens)))
    axis = figure.subplots()
    colours = ["#0c4a8a" if score >= 0 else "#b4500a" for score in scores]
    axis.barh(range(len(tokens)), scores, color=colours)
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_yticks(range(len(tokens)), [_short(token) for token in tokens], fontsize=7)
    axis.invert_yaxis()
    target = json.dumps(document["target"], ensure_ascii=False)
    axis.set_xlabel(f"nats for {target}, {document['method']}", fontsize=8)


def _tokens(figure: Any, document: dict[str, Any]) -> None:
    found = document["tokens"]
    figure.set_size_inches(max(5, 0.3 * len(found)), 3)
    axis = figure.subplots()
    axis.bar(range(len(found)), [one["surprisal_bits"] for one in found], color="#0c4a8a")
    axis.plot([one["entropy_bits"] for one in found], "o-", color="#b4500a", markersize=3)
    axis.set_ylabel("bits: surprisal (bars), entropy (line)", fontsize=7)
    _name(axis, [one["token"] for one in found])


def _positions(figure: Any, document: dict[str, Any]) -> None:
    if "similarity" in document:
        figure.set_size_inches(9, 3.4)
        first, second, third = figure.subplots(1, 3)
        for axis, name, title in (
            (first, "similarity", "learned, cosine"),
            (second, "sinusoidal_similarity", "published sinusoidal"),
        ):
            axis.imshow(document[name], vmin=-1, vmax=1, cmap=_DIVERGING)
            axis.set_title(title, fontsize=8)
        third.plot(document["norms"])
        third.set_title("norm by position", fontsize=8)
        return
    figure.set_size_inches(5, 3)
    axis = figure.subplots()
    name = "wavelengths" if "wavelengths" in document else "slopes"
    axis.semilogy(document.get(name, [1]), "o-")
    axis.set(xlabel="pair of dimensions" if name == "wavelengths" else "head", ylabel=name)


def _name(axis: Any, tokens: list[str], *, both: bool = False) -> None:
    if len(tokens) > _MOST_NAMES:
        return
    names = [_short(token) for token in tokens]
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    if both:
        axis.set_yticks(range(len(names)), names, fontsize=7)


def _short(token: str) -> str:
    text = json.dumps(token, ensure_ascii=False)[1:-1]
    # matplotlib reads dollars as formulas.
    return (text if len(text) <= 12 else text[:11] + "…").replace("$", r"\$")


_DRAW = {
    "attention": _attention,
    "lens": _lens,
    "attribute": _attribute,
    "tokens": _tokens,
    "positions": _positions,
}
