"""Muon with AdamW: each weight by the right part, as PyTorch's own, and resumed exactly."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from hfgen.errors import OptionConflict
from hfgen.training.loop.optimizers import MuonFactory, MuonWithAdamW, own_optimizer
from hfgen.training.options.finetune import TrainingOptions
from tests.conftest import build_model

SETTINGS: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.95), "eps": 1e-8}


def make(name: str = "gpt2") -> tuple[Any, MuonWithAdamW]:
    model = build_model(name)
    return model, MuonFactory()(model, **SETTINGS)


def learn(model: Any, steps: int, *steppers: Any) -> list[float]:
    """Train on fixed random ids; the steppers step, and gradients are cleared."""
    ids = torch.arange(60).reshape(3, 20) * 67 % 4096
    losses = []
    for _ in range(steps):
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        losses.append(loss.item())
        for stepper in steppers:
            stepper.step()
        model.zero_grad()
    return losses


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "gptj"])
def test_each_weight_is_learned_once_by_the_right_part(name: str) -> None:
    model, optimizer = make(name)
    names = {id(p): n for n, p in model.named_parameters()}
    groups = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    assert sorted(itertools.chain(*groups)) == sorted(names.values())
    matrices, decayed, others = groups
    tables = ("wte", "wpe", "embed", "lm_head")
    assert not [n for n in matrices if any(table in n for table in tables)]
    assert decayed and all(any(table in n for table in tables) for n in decayed)
    assert all(n.endswith("bias") or "ln" in n or "norm" in n for n in others)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1, 0.0]


def test_steps_are_those_of_pytorch() -> None:
    ours, optimizer = make()
    theirs = build_model("gpt2")
    matrices = [p for n, p in theirs.named_parameters() if p.ndim == 2 and ".h." in n]
    others = [p for n, p in theirs.named_parameters() if p.ndim < 2]
    tables = [theirs.transformer.wte.weight, theirs.transformer.wpe.weight]
    muon = torch.optim.Muon(
        matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )  # fmt: skip
    adamw = torch.optim.AdamW(
        [{"params": tables, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=0.01, betas=(0.9, 0.95),
    )  # fmt: skip
    assert learn(ours, 4, optimizer) == learn(theirs, 4, muon, adamw)
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_it_learns_and_every_kind_of_weight_moves() -> None:
    model, optimizer = make()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = learn(model, 30, optimizer)
    assert losses[-1] < 0.5 * losses[0]
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert not still


def schedule(optimizer: Any) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: 1 / (1 + step))


@pytest.mark.parametrize("at", [1, 2, 5])
def test_resumed_equals_uninterrupted(at: int) -> None:
    whole, optimizer = make()
    expected = learn(whole, 8, optimizer, schedule(optimizer))
    model, optimizer = make()
    falling = schedule(optimizer)
    first = learn(model, at, optimizer, falling)
    file = io.BytesIO()
    states = {"model": model, "optimizer": optimizer, "falling": falling}
    torch.save({name: part.state_dict() for name, part in states.items()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    model, optimizer = make()
    learn(model, 1, optimizer)  # of which nothing may be left
    falling = schedule(optimizer)
    for name, part in {"model": model, "optimizer": optimizer, "falling": falling}.items():
        part.load_state_dict(saved[name])
    assert [*first, *learn(model, 8 - at, optimizer, falling)] == expected
    for a, b in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_schedule_moves_the_rates_of_both() -> None:
    model, optimizer = make()
    falling = schedule(optimizer)
    learn(model, 3, optimizer, falling)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01 / 4] * 3
    with torch.no_grad():
        before = [p.clone() for p in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    learn(model, 1, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


class Arguments:
    learning_rate, weight_decay, adam_beta1, adam_beta2, adam_epsilon = 0.01, 0.1, 0.9, 0.95, 1e-8


def test_only_muon_is_made_here() -> None:
    assert own_optimizer(TrainingOptions(), Arguments()) is None
    made = own_optimizer(TrainingOptions(optim="muon"), Arguments())
    assert made == (MuonFactory, SETTINGS)


@pytest.mark.parametrize("name", ["fsdp", "deepspeed", "optim_args"])
def test_what_muon_cannot_do_is_refused(name: str) -> None:
    options = TrainingOptions.from_mapping({"optim": "muon", name: "x"})
    with pytest.raises(OptionConflict, match=name) as caught:
        own_optimizer(options, Arguments())
    assert caught.value.hint


@pytest.mark.parametrize("method", ["full", "lora"])
def test_finetune_takes_it(
    method: str, tiny_folder: Any, pairs_file: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfgen.training.runs.finetuning import finetune

    called: list[int] = []
    real: Callable[..., Any] = MuonWithAdamW.step

    def step(self: MuonWithAdamW, *args: Any) -> Any:
        called.append(1)
        return real(self, *args)

    monkeypatch.setattr(MuonWithAdamW, "step", step)
    done = finetune(
        pairs_file, model=str(tiny_folder), output=tmp_path / "o", optim="muon", max_steps=6,
        batch_size=8, learning_rate=3e-3, precision="fp32", lora=method == "lora",
    )  # fmt: skip
    assert len(called) == 6
    assert done.before.loss is not None and done.after.loss is not None
    assert done.after.loss < done.before.loss
