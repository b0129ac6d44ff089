"""The estimate of a step's memory against what torch keeps, and against real peaks."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from hfgen.models.sizing.shape import shape_of
from hfgen.training.loop.trainer import _fuse_activations
from hfgen.training.planning.memory import kept_bytes, memory_of, state_bytes
from tests.conftest import ARCHITECTURES, build_model

NO_DROPOUT = {
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "gpt_bigcode": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "gptj": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "opt": {"dropout": 0.0},
}
SMALL: dict[str, Any] = {"vocab_size": 128, "bos_token_id": 0, "eos_token_id": 0}
SIZES = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "n_embd": 64}


def bytes_kept(model: Any, ids: torch.Tensor, *, is_half: bool = False) -> int:
    """Oracle: what autograd keeps of a forward pass, weights left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}
    own |= {tensor.untyped_storage().data_ptr() for tensor in model.buffers()}
    sizes: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            alive.append(tensor)
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    _fuse_activations(model)  # as the trainer does
    model.train()
    body = model.base_model
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=is_half, cache_enabled=False),
    ):
        body(input_ids=ids, use_cache=False)
    return sum(sizes.values())


def layer_bytes(name: str, length: int, *, is_half: bool = False, **changes: Any) -> float:
    """What one more layer keeps for each token: embedding and head cancel out."""
    kind = "n_layer" if "n_layer" in ARCHITECTURES[name][1] else "num_hidden_layers"
    ids = torch.randint(1, 90, (2, length), generator=torch.Generator().manual_seed(0))
    few, many = (
        bytes_kept(
            build_model(
                name, vocab_size=128, bos_token_id=0, eos_token_id=0, **changes, **{kind: n}
            ),
            ids,
            is_half=is_half,
        )
        for n in (2, 6)
    )
    return (many - few) / 4 / ids.numel()


@pytest.mark.parametrize(
    ("name", "activation", "matrices"),
    [
        ("gpt2", "gelu_new", 0), ("gpt_bigcode", "gelu_pytorch_tanh", 0), ("gpt_neox", "gelu", 0),
        ("opt", "relu", 0), ("llama", "silu", 0), ("qwen2", "silu", 0), ("gptj", "gelu_new", 1),
    ],
)  # fmt: skip
def test_a_layer_keeps_what_autograd_keeps(name: str, activation: str, matrices: int) -> None:
    model = build_model(name, **SMALL)
    shape = shape_of(model.config.to_dict())
    measured = layer_bytes(name, 64, **NO_DROPOUT.get(name, {}))
    # A mask is counted that a batch of whole rows does without.
    estimated = kept_bytes(shape, 64, activation=activation, matrices=matrices) - 4 * 64
    assert 0.8 <= estimated / measured <= 1.25


@pytest.mark.parametrize("length", [32, 128])
def test_dropout_keeps_the_matrices_of_attention(length: int) -> None:
    changes = SIZES | {"resid_pdrop": 0.1, "attn_pdrop": 0.1}
    shape = shape_of(build_model("gpt2", vocab_size=128, **changes).config.to_dict())
    measured = layer_bytes("gpt2", length, **changes)
    estimated = kept_bytes(shape, length, activation="gelu_new", dropout=0.1, matrices=3)
    assert 0.8 <= (estimated - 4 * length) / measured <= 1.25


def test_half_precision_keeps_less() -> None:
    shape = shape_of(build_model("gpt2", vocab_size=128, **SIZES).config.to_dict())
    # Without autocast's cache each product keeps the copy of its matrix: left out.
    copies = (shape.weights - shape.embedding_weights) / shape.layers * 2 / (2 * 64)
    measured = layer_bytes("gpt2", 64, is_half=True, **SIZES) - copies
    estimated = kept_bytes(shape, 64, activation="gelu_new", precision="bf16") - 2 * 64
    assert 0.8 <= estimated / measured <= 1.25


@pytest.mark.parametrize("name", ["adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop"])
def test_optimizers_keep_what_is_counted(name: str) -> None:
    from transformers.optimization import Adafactor

    kinds: dict[str, Any] = {
        "adamw_torch": torch.optim.AdamW, "adafactor": Adafactor, "sgd": torch.optim.SGD,
        "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop,
    }  # fmt: skip
    matrix = torch.nn.Parameter(torch.ones(64, 128))
    settings = {"scale_parameter": False, "relative_step": False} if name == "adafactor" else {}
    optimizer = kinds[name]([matrix], lr=0.1, **settings)
    matrix.grad = torch.ones_like(matrix)
    optimizer.step()
    tensors = [t for t in optimizer.state[matrix].values() if isinstance(t, torch.Tensor)]
    held = sum(tensor.nbytes for tensor in tensors if tensor.dim())
    assert held == pytest.approx(matrix.numel() * state_bytes(name), abs=0.1 * matrix.numel())


def test_every_optimizer_of_transformers_has_a_size() -> None:
    from transformers.training_args import OptimizerNames

    sizes = {name.value: state_bytes(name.value) for name in OptimizerNames}
    assert sizes["adamw_torch"] == sizes["adamw_torch_fused"] == sizes["schedule_free_sgd"] == 8
    assert sizes["adamw_bnb_8bit"] == sizes["paged_adamw_8bit"] == 2
    assert sizes["lion_32bit"] == 4
    assert sizes["galore_adafactor"] < 1


def estimate(**changes: Any) -> int:
    shape = shape_of(build_model("gpt2", vocab_size=4096).config.to_dict())
    settings: dict[str, Any] = {
        "method": "full", "trainable_parameters": shape.weights, "rows": 4, "length": 128,
    }  # fmt: skip
    return memory_of(shape, **(settings | changes))


def test_what_helps_needs_less() -> None:
    plain = estimate()
    assert estimate(rows=1) < estimate(rows=2) < plain
    assert estimate(length=64) < plain
    assert estimate(learned=100) < plain
    assert estimate(gradient_checkpointing=True) < plain
    assert estimate(optim="sgd") < estimate(optim="adafactor") < plain
    assert estimate(activation="relu") < estimate(activation="gelu_new") == plain
    assert estimate(is_accumulating=False) < plain
    assert estimate(dropout=0.1) > estimate(is_attention_fused=False) > plain
    adapter = {"trainable_parameters": 1000}
    assert estimate(method="qlora", **adapter) < estimate(method="lora", **adapter)
    assert estimate(learned=10**9) == plain


STEPS = """
import resource, sys, torch
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments
from hfgen.models.sizing.shape import shape_of
from hfgen.training.data.collators import Padded
from hfgen.training.data.encode import EncodedExample
from hfgen.training.planning.memory import memory_of
from hfgen.training.loop.trainer import TokenTrainer
folder, rows, length, is_kept = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
config = GPT2Config(vocab_size=8192, n_embd=256, n_layer=6, n_head=4, n_positions=512,
                    resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0)
model = GPT2LMHeadModel(config)
data = [EncodedExample([i % 99 + 1] * length, [True] * length) for i in range(4 * rows)]
arguments = TrainingArguments(
    folder, use_cpu=True, report_to="none", per_device_train_batch_size=rows, max_steps=3,
    save_strategy="no", disable_tqdm=True, remove_unused_columns=False, optim="adamw_torch",
    gradient_checkpointing=not is_kept, logging_strategy="no", dataloader_pin_memory=False)
TokenTrainer(model, arguments, train_dataset=data, data_collator=Padded(0)).train()
shape = shape_of(config.to_dict())
expected = memory_of(shape, method="full", trainable_parameters=shape.weights, rows=rows,
                     length=length, activation="gelu_new", gradient_checkpointing=not is_kept,
                     is_accumulating=False)
scale = 1 if sys.platform == "darwin" else 1024
print(expected / (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
@pytest.mark.parametrize(("rows", "length", "is_kept"), [(1, 128, 1), (8, 512, 1), (8, 512, 0)])
def test_estimate_is_near_the_peak(tmp_path: Any, rows: int, length: int, is_kept: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", STEPS, str(tmp_path)]
    command += [str(rows), str(length), str(is_kept)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert 0.75 <= float(done.stdout.split()[-1]) <= 1.3
