"""The model that is trained: loaded in float32, with an adapter where one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from hfgen.models.checkpoint.load import LoadedModel, load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.training.model.lora import attach, check_base, count_parameters
from hfgen.training.options.common import RunOptions
from hfgen.training.options.finetune import TrainingOptions

_DROPOUT_NUMBERS = (
    "attention_dropout",
    "attn_dropout",
    "dropout",
    "hidden_dropout",
    "activation_dropout",
)


@dataclass(frozen=True)
class Base:
    """A model ready to be trained."""

    model: Any
    """In training mode, with gradients where it learns: a stock model, or peft's around one."""
    tokenizer: Any
    resolved: ResolvedModel | None
    """None for a new model."""
    window: int | None
    parameters: int
    """Of the whole model, without an adapter."""
    trainable_parameters: int
    again: Callable[[], Base]
    """Load or make it once more, as it is before the first step."""

    @property
    def name(self) -> str:
        """The model's name, for messages."""
        return "the new model" if self.resolved is None else self.resolved.name

    @property
    def stock(self) -> Any:
        """The Transformers model inside, with an adapter's layers where there is one."""
        inner = getattr(self.model, "get_base_model", None)
        return self.model if inner is None else inner()


def load_base(
    resolved: ResolvedModel,
    options: RunOptions,
    *,
    device: str = "auto",
    trust_remote_code: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Base:
    """Load the model, and prepare it to learn.

    Raises what `hfgen.models.checkpoint.load.load` raises; `ModelUnsupported` for an adapter on
    another.
    """
    if progress is not None:
        progress(f"loading {resolved.name} …")
    if options.method != "full":
        check_base(resolved)
    loaded = _loaded(resolved, options, device, trust_remote_code, progress)
    if options.dropout is not None:
        set_dropout(loaded.model, options.dropout)
    if isinstance(options, TrainingOptions) and options.method != "full":
        model = attach(loaded.model, options, resolved)
    else:
        model = loaded.model.requires_grad_(True)
    model.train()
    count = count_parameters(model)
    return Base(
        model=model,
        tokenizer=loaded.tokenizer,
        resolved=resolved,
        window=loaded.window,
        parameters=count.total - (count.trainable if options.method != "full" else 0),
        trainable_parameters=count.trainable,
        again=partial(
            load_base, resolved, options, device=device, trust_remote_code=trust_remote_code
        ),
    )


def _loaded(
    resolved: ResolvedModel,
    options: RunOptions,
    device: str,
    trust_remote_code: bool,
    progress: Callable[[str], None] | None,
) -> LoadedModel:
    if options.method == "qlora":
        from hfgen.models.checkpoint.bnb import load_quantized

        is_half = options.precision == "bf16" or device.startswith("cuda")
        return load_quantized(
            resolved,
            device=device,
            arithmetic="bfloat16" if is_half and options.precision != "fp32" else "float32",
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
    # The Trainer takes it to its device; float32, since small steps vanish in half precision.
    return load(
        resolved,
        LoadOptions(
            device="cpu", dtype="float32", trust_remote_code=trust_remote_code, progress=progress
        ),
    )


def set_dropout(model: Any, probability: float) -> None:
    """Have every dropout of the model use this probability; its configuration stays as it is."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        for name in _DROPOUT_NUMBERS:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, probability)
