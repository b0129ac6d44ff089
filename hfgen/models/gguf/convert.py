"""From a GGUF file to an ordinary checkpoint, by Transformers and the package `gguf`.

Knows nothing of caches: it reads one file and writes one folder. Weights come out in float32.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfgen.errors import HfgenError, ModelDamaged, ModelUnsupported, OutOfMemory
from hfgen.models.checkpoint.layout import missing_from
from hfgen.models.checkpoint.load_checks import brief, check_weights
from hfgen.models.checkpoint.weights import FETCH_AGAIN
from hfgen.models.gguf.conversions import NOTE
from hfgen.models.naming.resolve import Progress, ResolvedModel
from hfgen.models.silence import quick_imports, quiet

_OTHER_TOOL = "name the same model in safetensors format"


def convert(resolved: ResolvedModel, aside: Path, tell: Progress) -> None:
    """Write the file's model as a checkpoint into the new folder `aside`.

    Raises `ModelDamaged`, `ModelUnsupported`, `OutOfMemory`, and `OSError` as it comes.
    """
    source = aside / "source"
    source.mkdir(parents=True)
    # Alone in a folder, so that nothing that lies beside it is taken for a part of the model.
    file = source / "model.gguf"
    try:
        file.symlink_to(resolved.path.resolve())
    except OSError:  # not allowed on Windows
        shutil.copyfile(resolved.path, file)
    model, tokenizer = _dequantized(resolved, file, tell)
    model.hf_quantizer = None
    model.config.__dict__.pop("quantization_config", None)
    _tie(model)
    tell(f"writing the converted {resolved.name} …")
    with quiet():
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
    shutil.rmtree(source)
    facts = {"source": resolved.path.name, "bytes": resolved.path.stat().st_size}
    (aside / NOTE).write_text(json.dumps(facts), "utf-8")
    if problem := missing_from(aside):
        raise ModelDamaged(f"the conversion of {resolved.name} failed: {problem}")


def _dequantized(resolved: ResolvedModel, file: Path, tell: Progress) -> tuple[Any, Any]:
    """Have Transformers read the file: the model in float32, and its tokenizer."""
    with quick_imports():
        import torch
        from transformers import (
            MODEL_FOR_CAUSAL_LM_MAPPING,
            AutoConfig,
            AutoModelForCausalLM,
            AutoTokenizer,
            modeling_gguf_pytorch_utils,
        )
    arguments = {"gguf_file": file.name, "local_files_only": True}
    with quiet(), _silent_bar(modeling_gguf_pytorch_utils, resolved, tell):
        try:
            config = AutoConfig.from_pretrained(file.parent, **arguments)
            if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
                raise ModelUnsupported(
                    f"{resolved.name} ({config.model_type}) is no decoder model", hint=_OTHER_TOOL
                )
            if config.model_type == "gpt2":  # which tells its window as n_ctx alone
                config.n_positions = config.to_dict().get("n_ctx", config.n_positions)
            tell(f"converting {resolved.name}: its tokenizer …")
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **arguments)
            model, info = AutoModelForCausalLM.from_pretrained(
                file.parent, config=config, dtype=torch.float32, output_loading_info=True,
                ignore_mismatched_sizes=True, **arguments,
            )  # fmt: skip
        except HfgenError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise _translate(error, resolved) from error
    check_weights(model, info, resolved)
    if broken := [name for name, value in model.named_parameters() if not value.isfinite().all()]:
        raise ModelDamaged(f"{resolved.name} holds weights that are no numbers, as {min(broken)}")
    return model, tokenizer


def _tie(model: Any) -> None:
    """Have a head that repeats the embedding be it again: converters write both."""
    import torch

    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or head.weight is table.weight or head.bias is not None:
        return
    if head.weight.shape != table.weight.shape or not torch.equal(head.weight, table.weight):
        return
    model.config.get_text_config(decoder=True).tie_word_embeddings = True
    model.config.tie_word_embeddings = True
    with quiet():
        model.tie_weights()
    if head.weight is not table.weight:  # it cannot be had
        model.config.get_text_config(decoder=True).tie_word_embeddings = False
        model.config.tie_word_embeddings = False


@contextlib.contextmanager
def _silent_bar(module: Any, resolved: ResolvedModel, tell: Progress) -> Iterator[None]:
    """Take the place of the bar that Transformers shows here whatever its verbosity."""

    def counted(tensors: list[Any], **looks: Any) -> Iterator[Any]:
        said = -1
        for number, tensor in enumerate(tensors):
            if (tenth := 10 * number // len(tensors)) > said:
                said = tenth
                tell(f"converting {resolved.name}: {10 * tenth} %")
            yield tensor

    original, module.tqdm = module.tqdm, counted
    try:
        yield
    finally:
        module.tqdm = original


def _translate(error: Exception, resolved: ResolvedModel) -> HfgenError:
    text = str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return OutOfMemory(
            f"the memory does not hold {resolved.name} while it is converted",
            hint="convert it on a larger machine, or take a smaller model",
        )
    is_known = "not supported" in text or isinstance(error, (NotImplementedError, ImportError))
    if is_known or "quantization type" in text.lower():
        return ModelUnsupported(
            f"Transformers cannot read {resolved.name}: {brief(error)}", hint=_OTHER_TOOL
        )
    return ModelDamaged(f"{resolved.name} cannot be converted: {brief(error)}", hint=FETCH_AGAIN)
