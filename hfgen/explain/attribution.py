"""Which tokens drove what comes next: integrated gradients, gradient times input, occlusion.

What is explained is a log-probability: of a target, or of a target less that of another answer
("why A rather than B"). Scores are of the prompt's tokens, in nats.

Sources: Sundararajan et al. 2017 for integrated gradients and their completeness (scores add up to
the difference from the baseline); captum computes them. Occlusion puts the baseline in the place of
one token after the other.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

import torch

from hfgen.errors import DataError, MissingExtra, UsageError
from hfgen.explain.inside import Encoded, computing_eagerly, encode
from hfgen.generation.text import Vocabulary

Method = Literal["integrated-gradients", "gradient-x-input", "occlusion"]
METHODS: tuple[Method, ...] = ("integrated-gradients", "gradient-x-input", "occlusion")
Baseline = Literal["zero", "eos", "mean"]
BASELINES: tuple[Baseline, ...] = ("zero", "eos", "mean")
_FIRST_STEPS, _MOST_STEPS = 32, 512
_COMPLETE = 0.01


@dataclass(frozen=True)
class Attribution:
    """A score for each token of the prompt."""

    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    """Nats: positive for a token that makes the target more likely."""
    target: str
    instead: str | None
    value: float
    """What is explained: log-probability of the target, less that of `instead`."""
    baseline_value: float
    """The same with every token of the prompt at the baseline."""
    method: Method
    baseline: Baseline
    steps: int | None
    completeness_error: float | None
    """Of integrated gradients: how far scores miss value - baseline_value, as a share of it."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "tokens": list(self.tokens),
            "scores": list(self.scores),
            "target": self.target,
            "instead": self.instead,
            "quantity": "log-probability",
            "value": self.value,
            "baseline_value": self.baseline_value,
            "method": self.method,
            "baseline": self.baseline,
            "steps": self.steps,
            "completeness_error": self.completeness_error,
        }


def attribute(
    lm: Any,
    text: str,
    *,
    target: str | None = None,
    instead: str | None = None,
    method: Method = "integrated-gradients",
    baseline: Baseline = "zero",
) -> Attribution:
    """Score the tokens of a prompt by what they do for its continuation.

    `target` is the continuation as written (a leading blank counts), of one token or several;
    without one it is the model's most likely next token. Raises `UsageError` for a target without
    tokens, `DataError` where prompt and target exceed the window, `MissingExtra` without captum.
    """
    if method not in METHODS or baseline not in BASELINES:
        raise UsageError(
            f"{method} with baseline {baseline}: must be one of {', '.join(METHODS)}, with "
            f"{', '.join(BASELINES)}"
        )
    model = lm.model
    prompt = encode(lm, text)
    with computing_eagerly(model):
        wanted = _target_ids(lm, prompt, target)
        other = None if instead is None else _target_ids(lm, prompt, instead)
        explained = _Explained(model, wanted, other)
        embed = model.get_input_embeddings()
        ids = torch.tensor([prompt.ids], device=model.device)
        with torch.no_grad():
            inputs = embed(ids).detach()
            empty = _baseline(lm, baseline).expand_as(inputs)
            value, bottom = float(explained(inputs)), float(explained(empty))
        steps, error = None, None
        if method == "occlusion":
            scores = _occlusion(explained, inputs, empty, value)
        elif method == "gradient-x-input":
            scores = _gradient_by_input(explained, inputs)
        else:
            scores, steps, error = _integrated(explained, inputs, empty, value - bottom)
    decode = Vocabulary(lm.tokenizer).decode
    return Attribution(
        prompt.tokens,
        tuple(scores.tolist()),
        decode(wanted),
        None if other is None else decode(other),
        value,
        bottom,
        method,
        baseline,
        steps,
        error,
    )


class _Explained:
    """The log-probability that is explained, of embeddings (B, T, E): (B,)."""

    def __init__(self, model: Any, target: tuple[int, ...], other: tuple[int, ...] | None) -> None:
        self._model = model
        self._target = target
        self._other = other

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        value = self._logprob(inputs, self._target)
        return value if self._other is None else value - self._logprob(inputs, self._other)

    def _logprob(self, inputs: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
        count = len(ids)
        target = torch.tensor(ids, device=inputs.device)
        behind = self._model.get_input_embeddings()(target[:-1])
        behind = behind.expand(len(inputs), *behind.shape).to(inputs.dtype)
        logits = self._model(
            inputs_embeds=torch.cat([inputs, behind], dim=1), use_cache=False
        ).logits[:, -count:]
        table = torch.log_softmax(logits.float(), dim=-1)
        chosen = table.gather(2, target.expand(len(inputs), -1)[..., None])
        found: torch.Tensor = chosen.sum(dim=(1, 2))
        return found


def _target_ids(lm: Any, prompt: Encoded, target: str | None) -> tuple[int, ...]:
    if target is None:
        with torch.no_grad():
            ids = torch.tensor([prompt.ids], device=lm.model.device)
            return (int(lm.model(ids, use_cache=False).logits[0, -1].argmax()),)
    ids_of = lm.tokenizer.encode(target, add_special_tokens=False) if target else []
    if not ids_of:
        raise UsageError("the target has no tokens", hint='give a text, as --target " king"')
    if lm.window is not None and len(prompt.ids) + len(ids_of) > lm.window + 1:
        raise DataError(
            f"prompt and target have {len(prompt.ids) + len(ids_of):,} tokens, the context window "
            f"has {lm.window:,}",
            hint="shorten the text",
        )
    return tuple(map(int, ids_of))


def _baseline(lm: Any, name: Baseline) -> torch.Tensor:
    """An embedding (E,) that stands for nothing."""
    embed = lm.model.get_input_embeddings()
    if name == "zero":
        nothing: torch.Tensor = torch.zeros_like(embed.weight[0])
        return nothing
    if name == "mean":
        middle: torch.Tensor = embed.weight.mean(dim=0).detach()
        return middle
    if lm.tokenizer.eos_token_id is None:
        raise UsageError("the model has no end-of-text token", hint="use the baseline zero or mean")
    eos = torch.tensor(lm.tokenizer.eos_token_id, device=embed.weight.device)
    found: torch.Tensor = embed(eos).detach()
    return found


def _occlusion(
    explained: _Explained, inputs: torch.Tensor, empty: torch.Tensor, value: float
) -> torch.Tensor:
    """What is lost without each token: (T,)."""
    scores = []
    with torch.no_grad():
        for at in range(inputs.shape[1]):
            without = inputs.clone()
            without[:, at] = empty[:, at]
            scores.append(value - float(explained(without)))
    return torch.tensor(scores)


def _gradient_by_input(explained: _Explained, inputs: torch.Tensor) -> torch.Tensor:
    given = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(explained(given).sum(), given)
    return (gradient * given).sum(dim=-1)[0].detach()


def _integrated(
    explained: _Explained, inputs: torch.Tensor, empty: torch.Tensor, change: float
) -> tuple[torch.Tensor, int, float]:
    """Scores (T,), the steps that were needed, and how far they miss the change, as a share."""
    if importlib.util.find_spec("captum") is None:
        raise MissingExtra("integrated-gradients", "explain")
    from captum.attr import IntegratedGradients

    steps = _FIRST_STEPS
    while True:
        found = IntegratedGradients(explained).attribute(
            inputs,
            baselines=empty.contiguous(),
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=16,
        )
        scores = found.sum(dim=-1)[0].detach()
        error = abs(float(scores.double().sum()) - change) / max(abs(change), 1e-9)
        if error < _COMPLETE or steps >= _MOST_STEPS:
            return scores, steps, error
        steps *= 2
