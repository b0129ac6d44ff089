"""What `finetune` and `pretrain` have in common around a run: its options, paths and memory.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hfgen.errors import OutOfMemory, UsageError
from hfgen.mentions import mention
from hfgen.models.checkpoint.devices import check_device_name
from hfgen.models.naming.resolve import ResolvedModel, resolve
from hfgen.training.events import Listener
from hfgen.training.options.common import RunOptions
from hfgen.training.reading.files import find_sources

Data = str | Path | Sequence[str | Path]
Options = TypeVar("Options", bound=RunOptions)


def is_first_process() -> bool:
    """Whether this process is the one that reports and writes."""
    return os.environ.get("RANK", "0") == "0"


def merged(kind: type[Options], options: Options | None, settings: Mapping[str, Any]) -> Options:
    """The options with what the settings say in its place."""
    over = kind.from_mapping(settings)
    return over if options is None else over.over(options)


def checked_paths(data: Data, options: RunOptions, device: str) -> list[str]:
    """The paths as texts; refuses a device and files that are not there."""
    check_device_name(device)
    paths = [str(data)] if isinstance(data, str | Path) else [str(path) for path in data]
    find_sources(paths)
    if options.val_data is not None:
        find_sources([options.val_data])
    return paths


def find_model(model: str | None, default: str, offline: bool, listener: Listener) -> ResolvedModel:
    """Find the model, fetching it where need be."""
    listener.stage(f"looking for {model or default} …")
    resolved = resolve(model, offline=offline, progress=listener.stage)
    for notice in resolved.notices:
        listener.notice(notice)
    return resolved


@contextlib.contextmanager
def explaining_failures(options: RunOptions) -> Iterator[None]:
    """Have a lack of memory name the options that help, and a failed compilation its setting."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _is_of_compiler(error) and any("compile" in name for name, _ in options.arguments or ()):
            raise _compiler_failed(error) from error
        text = str(error)
        is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not (is_memory or "out of memory" in text or "can't allocate memory" in text):
            raise
        raise OutOfMemory("not enough memory to train", hint=memory_hint(options)) from error


def _is_of_compiler(error: BaseException) -> bool:
    return any(kind.__name__ == "TorchDynamoException" for kind in type(error).__mro__)


def _compiler_failed(error: BaseException) -> UsageError:
    from hfgen.models.checkpoint.load_checks import brief

    reason = getattr(error, "inner_exception", error)
    needs_compiler = type(reason).__name__ == "InvalidCxxCompiler"
    install = "install a C++ compiler (g++ or clang++), or " * needs_compiler
    return UsageError(
        f"torch.compile does not work here: {brief(reason)}",
        hint=f"{install}leave {mention('torch_compile')} out",
    )


def memory_hint(options: RunOptions) -> str:
    """What to type when memory runs out: what is not in use yet."""
    helps = [
        (mention("batch_size", "auto"), options.batch_size != "auto"),
        (mention("gradient_checkpointing", True), not options.gradient_checkpointing),
        (options.LIGHTER[0], options.method == "full"),
        (f"a smaller {mention('max_length')}", True),
    ]
    return "try " + ", ".join(text for text, is_new in helps if is_new)
