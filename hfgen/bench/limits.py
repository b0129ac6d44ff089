"""What the machine can do: its memory bandwidth and its rate of float operations, measured.

Both take the best of some runs, with as many threads as decoding has. Knows nothing of models.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BYTES = 2**30
_WIDTH = 2048


def synchronize(device: Any) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def measure_limits(device: Any, dtype: Any) -> dict[str, float]:
    """Bytes per second of a read beyond all caches, and float operations per second."""
    import torch

    # Float32 whatever the model has: sums of halves are no plain read on a CPU.
    numbers = torch.ones(_BYTES // 4, device=device)
    read_s = _best_s(numbers.sum, device)
    del numbers
    matrix = torch.ones(_WIDTH, _WIDTH, device=device, dtype=dtype)
    product_s = _best_s(lambda: matrix @ matrix, device)
    return {"bytes_per_s": _BYTES / read_s, "flops_per_s": 2 * _WIDTH**3 / product_s}


def describe_machine() -> dict[str, Any]:
    """The machine and the libraries, as a result has them."""
    import os

    import torch
    import transformers

    from hfgen.models.memory import main_memory

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
