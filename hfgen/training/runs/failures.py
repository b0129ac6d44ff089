"""What goes wrong inside torch while a run computes, in words that name the options that help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hfgen.errors import OutOfMemory, UsageError
from hfgen.mentions import mention
from hfgen.training.options.common import RunOptions


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
