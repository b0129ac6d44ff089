"""`load`: from the name of a model to a `LanguageModel`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from hfgen.language_model import LanguageModel
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.named import load_named


def load(
    name: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    offline: bool = False,
    device_map: str | None = None,
    attn: str | None = None,
    quantize: str | None = None,
    stock: bool = True,
    progress: Callable[[str], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Load a model by alias, Hub id (`id@revision`), local folder, adapter folder or GGUF file.

    None means `gpt2`, or the bundled model where that is neither cached nor reachable. `device`
    is "auto", "cpu", "cuda", "cuda:1" or "mps"; `dtype` "auto" (float32 on a CPU, bfloat16 on a
    GPU), "float32", "bfloat16" or "float16". `device_map` "auto" spreads a model that no device
    holds over all GPUs, the memory and the disk; `attn` is "eager",
    "sdpa" or "flash_attention_2". `quantize` "int8" generates with 8-bit integers on a CPU.

    On a CPU the engine lays its own copy of the weights out for decoding, beside the stock model
    `lm.model`; with `stock` False no weight is held twice, and `lm.model` is the engine's, which
    generates but cannot be trained or saved. `progress` receives one-line messages about what is
    going on, `notify` what the user should know before the model is loaded. Raises subclasses of
    `ModelError`, and `UsageError` for a wrong name of these.
    """
    return load_model(
        LoadOptions(
            name=name,
            device=device,
            dtype=dtype,
            offline=offline,
            trust_remote_code=trust_remote_code,
            device_map=device_map,
            attn=attn,
            quantize=quantize,
            stock=stock,
            progress=progress,
            notify=notify,
        )
    )


def load_model(options: LoadOptions) -> LanguageModel:
    """What `load` does, for options at hand; imports torch."""
    began = time.perf_counter()
    options.check()
    if options.threads is not None:
        # OpenMP reads it once, when torch is imported.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    loaded = load_named(options)
    return LanguageModel(loaded, options=options, load_s=time.perf_counter() - began)
