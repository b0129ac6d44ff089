"""What a model folder holds, checked cheaply: without torch, Transformers or reading weights.

Owns the knowledge of file names (configuration, weights, tokenizer) that folders, the Hub's cache
and downloads share, and the checks that tell a damaged or foreign folder from a usable one before
two seconds are spent on importing torch. What only Transformers can know is left to
`hfgen.models.checkpoint.load`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hfgen.errors import (
    HfgenError,
    ModelDamaged,
    ModelError,
    ModelNotFound,
    ModelUnsupported,
    TokenizerMissing,
)
from hfgen.models.checkpoint.weights import (
    FETCH_AGAIN,
    WEIGHT_FILES,
    check_weight_file,
    file_names,
    find_weights,
    read_json,
)

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"

# Each group is enough for a tokenizer.
TOKENIZER_GROUPS: tuple[tuple[str, ...], ...] = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tekken.json",),
)

SMALL_FILES = (
    CONFIG,
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    *(name for group in TOKENIZER_GROUPS for name in group),
)

_ENCODERS = frozenset(
    """albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra
    ernie esm eurobert flaubert fnet funnel ibert layoutlm longformer luke megatron-bert mobilebert
    modernbert mpnet mra nomic_bert nystromformer rembert roberta roberta-prelayernorm roc_bert
    roformer squeezebert xlm-roberta xlm-roberta-xl xmod yoso""".split()  # noqa: SIM905
)
_ENCODER_DECODERS = frozenset(
    """bart bigbird_pegasus blenderbot blenderbot-small encoder-decoder fsmt led longt5 m2m_100
    marian mbart mt5 mvp nllb-moe pegasus pegasus_x plbart prophetnet switch_transformers t5 t5gemma
    umt5 whisper""".split()  # noqa: SIM905
)
_OTHER_HEADS = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
)
_CHECKPOINT = re.compile(r"checkpoint-([0-9]+)", re.ASCII)


def check_folder(path: Path | str) -> None:
    """Check that a folder looks like a causal language model with its tokenizer.

    Raises `ModelNotFound` when there is none, `ModelUnsupported` for what hfgen cannot run,
    `ModelDamaged` for broken files, `TokenizerMissing`.
    """
    folder = Path(path)
    try:
        config = read_config(folder)
        _check_architecture(folder, config)
        weights = find_weights(folder)
        for file in weights.files:
            check_weight_file(file)
        check_tokenizer(folder)
        for name in ("generation_config.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                read_json(folder / name)
    except OSError as error:
        raise ModelDamaged(f"cannot read {folder}: {error.strerror}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Return the contents of `config.json`."""
    if not folder.is_dir():
        raise ModelNotFound(f"there is no folder {folder}", hint="check the path")
    file = folder / CONFIG
    if not file.is_file():
        raise _no_config(folder)
    return read_json(file)


def check_tokenizer(folder: Path) -> None:
    """Check that one complete set of tokenizer files is there."""
    check_tokenizer_names(file_names(folder), str(folder))


def has_tokenizer(folder: Path) -> bool:
    """Tell whether one complete set of tokenizer files is there."""
    names = file_names(folder)
    return any(all(name in names for name in group) for group in TOKENIZER_GROUPS)


def check_tokenizer_names(names: Collection[str], where: str) -> None:
    """Check that one complete set of tokenizer files is among the names."""
    if any(all(name in names for name in group) for group in TOKENIZER_GROUPS):
        return
    for group in TOKENIZER_GROUPS:
        missing = [name for name in group if name not in names]
        if len(missing) < len(group):
            raise TokenizerMissing(
                f"{where} lacks the tokenizer file {missing[0]}", hint=FETCH_AGAIN
            )
    raise TokenizerMissing(
        f"{where} has no tokenizer (tokenizer.json, or vocab.json and merges.txt, …)",
        hint="the tokenizer files of the model it was trained from belong into the same folder",
    )


def missing_from(folder: Path) -> str | None:
    """Tell what a snapshot of the Hub's cache lacks, in words; None when it is complete."""
    try:
        if (folder / CONFIG).is_file():
            weights = find_weights(folder)
            for file in weights.files:
                check_weight_file(file)
            check_tokenizer(folder)
            return None
    except ModelUnsupported:
        return None  # a complete model of the wrong kind; `check_folder` says so
    except ModelError as error:
        return error.message
    return f"{folder} has no {CONFIG}"


def needed_files(names: Collection[str]) -> list[str]:
    """Return which of a repository's files are needed to run it, small ones first.

    Weights come last, so that a snapshot with weights is a complete one. For sharded weights only
    the index is returned; it names the shards.
    """
    files = [name for name in SMALL_FILES if name in names]
    weights = next((name for name in WEIGHT_FILES if name in names), None)
    return [*files, weights] if weights else files


def _check_architecture(folder: Path, config: dict[str, Any]) -> None:
    if (folder / ADAPTER_CONFIG).is_file():
        raise _is_adapter(folder)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise ModelUnsupported(
            f"{folder / CONFIG} names no model_type", hint="add it, as \"model_type\": \"gpt2\""
        )  # fmt: skip
    is_decoder = config.get("is_decoder") is True
    hint = "hfgen runs decoder models: GPT-2, GPT-Neo, GPT-NeoX, OPT, Llama, Qwen, …"
    if kind in _ENCODER_DECODERS or config.get("is_encoder_decoder") is True:
        raise ModelUnsupported(f"{folder} is an encoder-decoder model ({kind})", hint=hint)
    if kind in _ENCODERS and not is_decoder:
        raise ModelUnsupported(f"{folder} is an encoder model ({kind})", hint=hint)
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    if isinstance(first, str) and first.endswith(_OTHER_HEADS):
        raise ModelUnsupported(f"{folder} is no language model but a {first}", hint=hint)


def _no_config(folder: Path) -> HfgenError:
    if (folder / ADAPTER_CONFIG).is_file():
        return _is_adapter(folder)
    names = file_names(folder)
    steps = [(int(found[1]), name) for name in names if (found := _CHECKPOINT.fullmatch(name))]
    if steps:
        hint = f"name one of its checkpoints: {folder / max(steps)[1]}"
    elif files := sorted(name for name in names if name.lower().endswith(".gguf")):
        return ModelUnsupported(
            f"{folder} holds {'a GGUF file' if len(files) == 1 else 'GGUF files'}, not a folder "
            "model",
            hint=f"name the file: -m {folder / files[0]}",
        )
    else:
        hint = "name a folder written by save_pretrained, or a Hub id as org/name"
    return ModelNotFound(f"{folder} holds no model: it has no {CONFIG}", hint=hint)


def _is_adapter(folder: Path) -> HfgenError:
    return ModelUnsupported(
        f"{folder} is an adapter, which this version of hfgen cannot load",
        hint="merge it into its base model first (peft: merge_and_unload, save_pretrained)",
    )
