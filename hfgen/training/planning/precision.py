"""Which arithmetic a run uses: float32, or 16 bits for the large products.

The weights stay float32 either way. `auto` chooses:

- CPU: bf16 where the processor multiplies it (AVX-512 BF16, AMX) and the model's rows are at least
  `MIN_WIDTH` wide, else fp32. Without such instructions bf16 is emulated, many times slower.
- CUDA: bf16 where the GPU has it (Ampere and newer), else fp16 with a scaled loss.
- Others: fp32.

It knows devices and widths, and nothing of data and options.
"""

from __future__ import annotations

from typing import Any

from hfgen.errors import InvalidOption
from hfgen.mentions import mention
from hfgen.training.planning.plan import FloatKind

MIN_WIDTH = 64
"""Narrower models gain nothing from bf16 on a CPU: converting costs what multiplying saves.

Steps of a GPT-2 with 6 layers and 4,096 tokens against fp32, on one core of an EPYC 9005: width 32
1.0 times as fast, 64 1.2, 128 1.4, 192 1.8, 256 1.6; 384 with 50,257 tokens 1.8, 768 2.3.
"""
# Names in torch.cpu.get_capabilities().
_CPU_PRODUCTS = ("avx512_bf16", "amx_bf16", "avx10_2")


def choose(precision: str, device: str, model: Any) -> FloatKind:
    """Decide for `auto`, and check what was asked for.

    Raises `InvalidOption` for a precision that the device does not have.
    """
    kind = device.partition(":")[0]
    if precision == "auto":
        return _best(kind, model)
    if precision == "fp16" and kind != "cuda":
        raise InvalidOption(
            "precision",
            precision,
            "bf16 or fp32 without a GPU",
            hint=f"use {mention('precision', 'bf16')}",
        )
    if precision == "bf16" and kind == "cuda" and not _has_cuda_bf16():
        raise InvalidOption(
            "precision",
            precision,
            "fp16 or fp32 on this GPU",
            hint=f"use {mention('precision', 'fp16')}",
        )
    if precision in ("fp32", "bf16", "fp16"):
        return precision  # type: ignore[return-value]
    raise InvalidOption("precision", precision, "auto, fp32, bf16 or fp16")


def has_cpu_bf16() -> bool:
    """Whether this machine's processor multiplies bfloat16 in hardware."""
    import torch

    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in _CPU_PRODUCTS)


def _has_cuda_bf16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _best(kind: str, model: Any) -> FloatKind:
    if kind == "cuda":
        return "bf16" if _has_cuda_bf16() else "fp16"
    if kind == "cpu" and has_cpu_bf16() and _width(model) >= MIN_WIDTH:
        return "bf16"
    return "fp32"


def _width(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[-1])
