"""Adapters that bring embeddings along: what peft loads exactly is loaded, with its logits."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hfgen.errors import HfgenError, ModelDamaged, ModelUnsupported
from hfgen.models.adapters.merge import merge
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import resolve

peft = pytest.importorskip("peft")

ROWS = 4096
NEW_ROWS = 4
# Architecture, whether the embedding is enlarged, and what is trained.
CASES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "head": ("llama", False, {"target_modules": ["q_proj", "lm_head"]}),
    "embedding": ("llama", False, {"target_modules": ["q_proj", "embed_tokens"]}),
    "both": ("llama", False, {"target_modules": ["embed_tokens", "lm_head"]}),
    "head, enlarged": ("llama", True, {"target_modules": ["q_proj", "lm_head"]}),
    "saved": ("llama", True, {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "saved, tied": ("gpt2", True, {"modules_to_save": ["wte", "lm_head"]}),
    "saved along, tied": ("gpt2", True, {}),
}
TARGETS = {"gpt2": ["c_attn"], "llama": ["q_proj"]}


@pytest.fixture(autouse=True)
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def put(model_of: Callable[[str], Any], tokenizer: Any, tmp_path: Path) -> Callable[..., Any]:
    """Write a base and an adapter on it; return the base as the adapter was trained on it."""

    def write(
        architecture: str,
        settings: dict[str, Any],
        *,
        enlarged: bool,
        is_larger_base: bool = False,
        **saving: Any,
    ) -> Any:
        model = copy.deepcopy(model_of(architecture))
        larger = copy.deepcopy(tokenizer)
        if enlarged:
            if not is_larger_base:
                model.save_pretrained(tmp_path / "base")
            model.resize_token_embeddings(ROWS + NEW_ROWS, mean_resizing=False)
            larger.add_tokens([f"<new{n}>" for n in range(NEW_ROWS)])
        if not enlarged or is_larger_base:
            model.save_pretrained(tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
        base = copy.deepcopy(model)
        chosen = {"target_modules": TARGETS[architecture]} | settings
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=16, **chosen)
        adapted = peft.get_peft_model(model, config)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.1)
        adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
        adapted.save_pretrained(tmp_path / "adapter", **saving)
        larger.save_pretrained(tmp_path / "adapter")
        return base

    return write


def ids(rows: int) -> Any:
    return torch.tensor([[*range(7, 4000, 133), rows - 1, rows - 2]])


@pytest.mark.parametrize(
    ("case", "is_larger_base"),
    [
        *((case, False) for case in CASES if case != "head, enlarged"),
        *((case, True) for case, (_, enlarged, _) in CASES.items() if enlarged),
    ],
)
def test_logits_are_peft_s(
    put: Callable[..., Any], tmp_path: Path, case: str, is_larger_base: bool
) -> None:
    architecture, enlarged, settings = CASES[case]
    base = put(
        architecture, settings, enlarged=enlarged, is_larger_base=is_larger_base,
        save_embedding_layers=True if case == "saved along, tied" else "auto",
    )  # fmt: skip
    rows = ROWS + NEW_ROWS * enlarged
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    ours = load(resolve(str(tmp_path / "adapter")), LoadOptions(device="cpu"))
    with torch.inference_mode():
        expected = theirs(ids(rows)).logits
        found = ours.model(ids(rows)).logits
    assert found.shape[-1] == len(ours.tokenizer) == rows
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_merging_writes_the_larger_embeddings(put: Callable[..., Any], tmp_path: Path) -> None:
    put("gpt2", CASES["saved, tied"][2], enlarged=True)
    merge(tmp_path / "adapter", tmp_path / "whole")
    again = load(resolve(str(tmp_path / "whole")), LoadOptions(device="cpu"))
    assert again.model.config.vocab_size == len(again.tokenizer) == ROWS + NEW_ROWS
    adapter = load(resolve(str(tmp_path / "adapter")), LoadOptions(device="cpu"))
    with torch.inference_mode():
        found, expected = again.model(ids(4100)).logits, adapter.model(ids(4100)).logits
    assert torch.equal(found, expected)


def expect(kind: type[HfgenError], match: str, folder: Path) -> HfgenError:
    with pytest.raises(HfgenError, match=match) as caught:
        load(resolve(str(folder)), LoadOptions(device="cpu"))
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize("layer", ["lm_head", "wte"])
def test_an_adapter_on_tied_embeddings_is_refused_for_that(
    put: Callable[..., Any], tmp_path: Path, layer: str
) -> None:
    put("gpt2", {"target_modules": ["c_attn", layer]}, enlarged=False)
    error = expect(ModelUnsupported, "also uses at its other end", tmp_path / "adapter")
    assert "another model" not in str(error.hint)


def test_rows_that_nobody_has_are_an_error_with_both_sizes(
    put: Callable[..., Any], tmp_path: Path
) -> None:
    settings = {"target_modules": ["lm_head"]}
    put("llama", settings, enlarged=True, save_embedding_layers=False)
    error = expect(ModelDamaged, "does not fit its base model", tmp_path / "adapter")
    assert re.search(r"is \[4100, 4\] in the adapter, \[4096, 4\] in the base$", error.message)


def test_new_rows_of_one_of_two_tables(put: Callable[..., Any], tmp_path: Path) -> None:
    put("llama", CASES["head, enlarged"][2], enlarged=True)
    expect(ModelDamaged, "of 4,100 rows, its base model of 4,096", tmp_path / "adapter")
