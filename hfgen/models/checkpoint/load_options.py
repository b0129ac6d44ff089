"""`LoadOptions`: which model is loaded, and how; the same from the flags to `from_pretrained`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from hfgen.errors import InvalidOption, MissingExtra, OptionConflict
from hfgen.mentions import mention
from hfgen.models.checkpoint.devices import check_device_name, check_dtype_name

DEVICE_MAPS = ("auto",)
QUANTIZATIONS = ("int8",)
ATTENTIONS = ("eager", "sdpa", "flash_attention_2")
FLASH = "flash_attention_2"


@dataclass(frozen=True)
class LoadOptions:
    """What `hfgen.load` takes, with its defaults; see there."""

    name: str | None = None
    """Alias, Hub id, folder or file; None for `gpt2`, or the bundled model."""
    device: str = "auto"
    dtype: str = "auto"
    offline: bool = False
    trust_remote_code: bool = False
    device_map: str | None = None
    attn: str | None = None
    quantize: str | None = None
    """What the engine decodes in; weights are loaded in `dtype`."""
    threads: int | None = None
    """Processor cores; has an effect only before torch is imported, so the command line sets it."""
    stock: bool = True
    """Whether the Transformers model stays usable beside the engine's copy of the weights."""
    progress: Callable[[str], None] | None = None
    """Is told what is going on."""
    notify: Callable[[str], None] | None = None
    """Is told what the user should know."""

    def check(self) -> None:
        """Refuse what is misspelt, contradicts itself or needs a package; imports no torch.

        Raises `InvalidOption`, `OptionConflict` or `MissingExtra`.
        """
        check_device_name(self.device)
        check_dtype_name(self.dtype)
        _check_one_of("device_map", self.device_map, DEVICE_MAPS, " or ")
        if self.device_map is not None and self.device != "auto":
            raise OptionConflict(
                f"{mention('device_map')} {self.device_map} chooses the devices itself, "
                f"{mention('device')} {self.device} names one",
                hint="leave one of them out",
            )
        _check_one_of("attn", self.attn, ATTENTIONS, ", ")
        if self.attn == FLASH and importlib.util.find_spec("flash_attn") is None:
            error = MissingExtra(f"attention by {FLASH}", "")
            error.hint = "pip install flash-attn (for a CUDA GPU), or use sdpa"
            raise error
        _check_one_of("quantize", self.quantize, QUANTIZATIONS, " or ")


def _check_one_of(option: str, value: str | None, words: tuple[str, ...], joined_by: str) -> None:
    if value is not None and value not in words:
        raise InvalidOption(option, value, joined_by.join(words))
