"""Optimizers that are no names of Transformers': Muon for matrices, AdamW for the rest.

Muon (Jordan et al. 2024) makes the update of a hidden layer's matrix orthogonal; embeddings, biases
and norms go on with AdamW. Its steps are scaled as by Liu et al. 2025 (arXiv:2502.16982, section
2.2), to the size of AdamW's, so that one learning rate and one weight decay are right for both.

`MuonWithAdamW` is one optimizer to whoever uses it: one list of groups, one state, one state
dictionary. So schedules, gradient clipping and checkpoints are the Trainer's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from hfgen.errors import OptionConflict
from hfgen.mentions import mention
from hfgen.training.options.common import RunOptions
from hfgen.training.options.optimizer_names import MUON

MOMENTUM = 0.95
_KIND = "is_muon"


class MuonWithAdamW(torch.optim.Optimizer):
    """PyTorch's Muon and AdamW over one list of groups."""

    def __init__(
        self,
        matrices: Sequence[torch.Tensor],
        decayed: Sequence[torch.Tensor],
        others: Sequence[torch.Tensor],
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        eps: float = 1e-8,
    ) -> None:
        """`matrices` learn by Muon; `decayed` and `others` by AdamW, with and without decay."""
        rate = {"lr": lr}
        decay = rate | {"weight_decay": weight_decay}
        muon: list[dict[str, Any]] = [{"params": list(matrices), _KIND: True} | decay]
        adamw: list[dict[str, Any]] = [
            {"params": list(decayed), _KIND: False} | decay,
            {"params": list(others), _KIND: False, "weight_decay": 0.0} | rate,
        ]
        self._muon = torch.optim.Muon(
            muon, lr, weight_decay, MOMENTUM, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(adamw, lr, betas, eps, weight_decay)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up groups and state, as `load_state_dict` hands them over."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Have both parts work on this one's groups and state."""
        for part, is_muon in ((self._muon, True), (self._adamw, False)):
            part.param_groups = [group for group in self.param_groups if group[_KIND] is is_muon]
            part.state = self.state


def own_optimizer(options: RunOptions, arguments: Any) -> tuple[type, dict[str, Any]] | None:
    """What the Trainer takes as `optimizer_cls_and_kwargs`; None where it makes its own.

    Raises `OptionConflict` for what Muon cannot do.
    """
    if options.value("optim") != MUON:
        return None
    given = dict(options.arguments or ())
    for name in ("fsdp", "deepspeed"):
        if given.get(name):
            raise OptionConflict(
                f"{mention('optim')} muon needs whole matrices, and {mention(name)} divides them",
                hint=f"use {mention('optim', 'adamw_torch')}",
            )
    if given.get("optim_args"):
        raise OptionConflict(
            f"{mention('optim_args')} has no effect with {mention('optim')} muon",
            hint=f"drop {mention('optim_args')}",
        )
    return MuonFactory, {
        "lr": arguments.learning_rate,
        "weight_decay": arguments.weight_decay,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
    }


class MuonFactory:
    """Makes the optimizer of a model; the Trainer makes one of it, and calls that."""

    def __call__(
        self, model: Any, *, lr: float, weight_decay: float, betas: tuple[float, float], eps: float
    ) -> MuonWithAdamW:
        """Divide the weights that learn; biases and one-dimensional ones do not decay."""
        tables = {id(p) for p in _tables(model)}
        parameters = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in parameters if p.ndim == 2 and id(p) not in tables]
        decayed = [p for p in parameters if (p.ndim == 2 and id(p) in tables) or p.ndim > 2]
        others = [p for p in parameters if p.ndim < 2]
        return MuonWithAdamW(
            matrices, decayed, others, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps
        )


def _tables(model: Any) -> Iterable[torch.Tensor]:
    """Weights of one row for each token or position: those going in and out."""
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            yield from module.parameters(recurse=False)
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if output is not None:
        yield from output.parameters(recurse=False)
