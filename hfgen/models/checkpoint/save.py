"""Writing a model as an ordinary checkpoint: what `from_pretrained` reads, and nothing else.

The tokenizer's files are copied as they are, chat template included, from the folder that the
tokenizer was loaded from: read and written again they could come out differently.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hfgen.models.checkpoint.layout import CONFIG, SMALL_FILES
from hfgen.models.silence import quiet

_GENERATION_CONFIG = "generation_config.json"
TOKENIZER_FILES = tuple(name for name in SMALL_FILES if name not in (CONFIG, _GENERATION_CONFIG))


def write_checkpoint(model: Any, folder: Path, *, tokenizer_from: Path, code: bool = False) -> None:
    """Write a model's weights, configuration and tokenizer into an existing folder.

    `code` copies the Python files that came with the model. Raises `OSError`, or safetensors'
    error, as it comes.
    """
    model.generation_config = valid_generation_config(model.generation_config)
    with quiet():
        model.save_pretrained(folder)
    names = [name for name in TOKENIZER_FILES if (tokenizer_from / name).is_file()]
    if code:
        names += [file.name for file in tokenizer_from.glob("*.py")]
    for name in names:
        shutil.copyfile(tokenizer_from / name, folder / name)


def valid_generation_config(config: Any) -> Any:
    """Return a generation configuration that Transformers agrees to save.

    It refuses one it would warn of, and many models bring one: `temperature` without `do_sample`,
    say, which is taken to mean sampling. Of other contradictions the fields that have no effect
    are left out.
    """
    with quiet():
        if _is_valid(config):
            return config
        wanted = config.to_diff_dict()
        wanted.pop("transformers_version", None)
        if config.do_sample is None and _is_valid(type(config)(**wanted | {"do_sample": True})):
            return type(config)(**wanted | {"do_sample": True})
        kept: dict[str, Any] = {}
        # The fields that others depend on come first.
        for name in sorted(wanted, key=lambda name: name not in ("do_sample", "num_beams")):
            more = kept | {name: wanted[name]}
            if _is_valid(type(config)(**more)):
                kept = more
        return type(config)(**kept)


def _is_valid(config: Any) -> bool:
    try:
        config.validate(strict=True)
    except ValueError:
        return False
    return True
