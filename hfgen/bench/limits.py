"""What the machine can do: its memory bandwidth and its rate of operations, measured.

Both take the best of some runs, with as many threads as decoding has. Knows nothing of models.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_BYTES = 2**30
_WIDTH = 2048


def synchronize(device: Any) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def measure_limits(
    device: Any, dtype: Any, quantize: Sequence[str | None] = (None,)
) -> dict[str, float | None]:
    """Bytes per second of a read beyond all caches, and operations per second of a product.

    The products are those of decoding: a packed matrix where the processor has that, and 8-bit
    integers where `quantize` asks for them.
    """
    import torch

    # Float32 whatever the model has: sums of halves are no plain read on a CPU.
    numbers = torch.ones(_BYTES // 4, device=device)
    read_s = _best_s(numbers.sum, device)
    del numbers
    with torch.inference_mode():
        product_s = _best_s(_float_product(device, dtype), device)
        int8_s = _best_s(_int8_product(), device) if "int8" in quantize else None
    operations = 2 * _WIDTH**3
    return {
        "bytes_per_s": _BYTES / read_s,
        "flops_per_s": operations / product_s,
        "int8_operations_per_s": None if int8_s is None else operations / int8_s,
    }


def _float_product(device: Any, dtype: Any) -> Callable[[], object]:
    import torch

    matrix = torch.randn(_WIDTH, _WIDTH, device=device).to(dtype)
    if device.type == "cpu":
        from hfgen.generation.cpu.packed import PackedLinear

        try:
            packed = PackedLinear(matrix, None)
            packed(matrix)
        except (RuntimeError, AttributeError, NotImplementedError):
            pass  # a processor or a torch without oneDNN's kernels
        else:
            return lambda: packed(matrix)
    return lambda: matrix @ matrix


def _int8_product() -> Callable[[], object]:
    import torch

    values = torch.randint(-127, 128, (_WIDTH, _WIDTH), dtype=torch.int8)
    return lambda: torch._int_mm(values, values.t())


def describe_machine() -> dict[str, Any]:
    """The machine and the libraries, as a result has them."""
    import os

    import torch
    import transformers

    from hfgen.models.sizing.memory import main_memory

    memory = main_memory()
    has_gpu = torch.cuda.is_available()
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory.total_bytes if memory else None,
        "gpu": torch.cuda.get_device_name(0) if has_gpu else None,
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
    }


def _best_s(work: Callable[[], object], device: Any, runs: int = 4) -> float:
    times = []
    for _ in range(runs):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
