"""What is known about a model without loading it: shape, size, window, licence, files.

Reads configuration and headers of weights, never the weights; asks the Hub only about a model that
is neither here nor in the catalogue. What cannot be known is None, and is listed as unknown.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfgen.errors import HubUnreachable, ModelError
from hfgen.models.checkpoint.layout import ADAPTER_CONFIG, CONFIG, TOKENIZER_GROUPS
from hfgen.models.checkpoint.weights import read_json
from hfgen.models.hub.retry import Progress
from hfgen.models.naming import catalogue
from hfgen.models.naming.aliases import find_alias
from hfgen.models.naming.names import hub_name
from hfgen.models.naming.resolve import ResolvedModel, resolve

BYTES_BY_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2}

_TOKENIZER_FILES = frozenset(name for group in TOKENIZER_GROUPS for name in group)
_WINDOW = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
_SHAPE = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "vocabulary": ("vocab_size",),
}
# Constants that older checkpoints of GPT-2 and its relatives carry along.
_BUFFER = re.compile(r"(^|\.)(attn|attention)\.(bias|masked_bias)$|rotary_emb\.inv_freq$")
_TIED_BY_DEFAULT = ("gpt2", "gpt_neo", "opt", "bloom", "gpt_bigcode")
_LICENCE = re.compile(r"^licen[sc]e:\s*['\"]?([\w.+-]+)", re.MULTILINE)


@dataclass
class ModelFacts:
    """What is known about a model; None for what is not."""

    name: str
    where: str
    """`bundled`, `cache`, `folder`, `gguf` or `adapter`; elsewhere: `catalogue` or `hub`."""
    repo_id: str | None = None
    revision: str | None = None
    path: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    vocabulary: int | None = None
    window: int | None = None
    has_template: bool | None = None
    licence: str | None = None
    kind: str | None = None
    stands_in_for: str | None = None
    why: str | None = None
    is_gated: bool = False
    note: str | None = None
    disk_bytes: int | None = None
    files: dict[str, int] = field(default_factory=dict)
    """How many files there are of each kind."""
    problem: str | None = None
    """What is wrong with the copy that is here."""

    @property
    def memory_bytes(self) -> dict[str, int] | None:
        """Memory of the weights by dtype; text in the making needs more."""
        if self.parameters is None:
            return None
        return {dtype: size * self.parameters for dtype, size in BYTES_BY_DTYPE.items()}

    @property
    def unknown(self) -> list[str]:
        """Names of what is not known."""
        names = ("architecture", "parameters", "window", "has_template", "licence", "disk_bytes")
        return [name for name in names if getattr(self, name) is None]


def describe(name: str, *, offline: bool = False, progress: Progress | None = None) -> ModelFacts:
    """Find out what is known about a model, without downloading or loading it.

    Raises the error of `resolve` when there is no such model.
    """
    try:
        found = resolve(name, offline=True)
    except HubUnreachable as error:
        return _elsewhere(name, error, offline, progress)
    return _here(found)


def licence_of(found: ResolvedModel) -> str | None:
    """Return the licence that a model's card names, or the catalogue; None where neither does."""
    if found.source == "gguf":
        return _here(found).licence
    entry = catalogue.entry_of(found.repo_id) if found.repo_id else None
    return _licence_in(found.path) or (entry.licence if entry is not None else None)


def _here(found: ResolvedModel) -> ModelFacts:
    facts = ModelFacts(
        found.name, where=found.source, repo_id=found.repo_id, revision=found.revision,
        path=str(found.path.absolute()),
    )  # fmt: skip
    if found.path.is_file():
        facts.disk_bytes = found.path.stat().st_size
        facts.files = {found.path.suffix.lstrip(".").lower(): 1}
        _add_gguf(facts, found.path)
        _add_catalogue(facts)
        return facts
    files = [file for file in sorted(found.path.iterdir()) if file.is_file()]
    facts.disk_bytes = sum(file.stat().st_size for file in files)
    for file in files:
        kind = _kind_of(file.name)
        facts.files[kind] = facts.files.get(kind, 0) + 1
    config: dict[str, Any] = {}
    try:
        if (found.path / CONFIG).is_file():
            config = read_json(found.path / CONFIG)
        _add_configuration(facts, config)
        facts.parameters = _count_parameters(files, config)
        facts.has_template = _has_template(found.path)
    except ModelError as error:
        facts.problem = error.message
    facts.licence = _licence_in(found.path)
    if found.base is not None:
        facts.note = f"an adapter of {found.base.name}"
        base = _here(found.base)
        facts.architecture, facts.window = base.architecture, base.window
        facts.has_template = facts.has_template or base.has_template
    _add_catalogue(facts)
    return facts


def _add_gguf(facts: ModelFacts, file: Path) -> None:
    from hfgen.models.gguf.header import read_header

    try:
        header = read_header(file)
    except ModelError as error:
        facts.problem = error.message
        return
    licence = header.metadata.get("general.license")
    facts.architecture = header.architecture or None
    facts.licence = licence if isinstance(licence, str) else None
    numbers = {
        "window": "context_length", "layers": "block_count", "width": "embedding_length",
        "heads": "attention.head_count",
    }  # fmt: skip
    for name, key in numbers.items():
        setattr(facts, name, header.number(key))
    facts.parameters = header.parameters
    facts.has_template = "tokenizer.chat_template" in header.metadata


def _elsewhere(
    name: str, error: HubUnreachable, offline: bool, progress: Progress | None
) -> ModelFacts:
    """Describe a model that is not here, from the catalogue or the Hub."""
    from hfgen.models.hub import client

    target = hub_name(find_alias(name) or name)
    if target is None:
        raise error
    repo_id, revision, entry = target
    problem = error.message if "incomplete" in error.message else None
    facts = ModelFacts(name, "catalogue", repo_id=repo_id, revision=revision, problem=problem)
    if entry is not None:
        _add_catalogue(facts)
        return facts
    if offline or client.is_offline() or not client.is_hub_reachable():
        raise error
    listing = client.look_up(repo_id, revision, progress)
    facts.where, facts.revision = "hub", listing.commit
    facts.architecture, facts.parameters = listing.architecture, listing.parameters
    facts.licence = listing.licence
    for file in listing.files:
        kind = _kind_of(file)
        facts.files[kind] = facts.files.get(kind, 0) + 1
    return facts


def _add_catalogue(facts: ModelFacts) -> None:
    entry = _entry_of(facts)
    if entry is None:
        return
    facts.repo_id = facts.repo_id or entry.repo_id
    facts.is_gated = entry.is_gated
    facts.parameters = entry.parameters
    facts.window = facts.window or entry.window
    facts.licence = facts.licence or entry.licence
    facts.kind, facts.note = entry.kind, entry.note or None
    facts.stands_in_for, facts.why = entry.stands_in_for, entry.why


def _entry_of(facts: ModelFacts) -> catalogue.Entry | None:
    """The catalogue's entry: by the alias that was typed, as several may mean one repository."""
    if facts.where == "bundled":
        return catalogue.CATALOGUE[catalogue.BUNDLED_ALIAS]
    named = catalogue.find(facts.name.partition("@")[0])
    if facts.where == "gguf":
        return named
    if named is not None and facts.repo_id in (named.repo_id, *named.legacy_ids):
        return named
    return catalogue.entry_of(facts.repo_id) if facts.repo_id else None


def _add_configuration(facts: ModelFacts, config: dict[str, Any]) -> None:
    inner = config.get("text_config")
    config = {**config, **inner} if isinstance(inner, dict) else config
    kind = config.get("model_type")
    facts.architecture = kind if isinstance(kind, str) else None
    facts.window = _number(config, _WINDOW)
    for name, keys in _SHAPE.items():
        setattr(facts, name, _number(config, keys))


def _number(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _count_parameters(files: list[Path], config: dict[str, Any]) -> int | None:
    """Count the weights by the headers of safetensors files; None where there are none."""
    is_tied = config.get("tie_word_embeddings", config.get("model_type") in _TIED_BY_DEFAULT)
    shapes: dict[str, list[int]] = {}
    for file in files:
        if file.suffix == ".safetensors" and not file.name.startswith("adapter_"):
            shapes |= _shapes(file)
    if not shapes or "quantization_config" in config:
        return None
    return sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if not _BUFFER.search(name)
        if not (is_tied and name == "lm_head.weight" and len(shapes) > 1)
    )


def _shapes(file: Path) -> dict[str, list[int]]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                return {}
            header = json.loads(stream.read(length))
        return {name: t["shape"] for name, t in header.items() if name != "__metadata__"}
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return {}


def _has_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(read_json(settings).get("chat_template"))


def _licence_in(folder: Path) -> str | None:
    """Return the licence that a model card in the folder names."""
    try:
        text = (folder / "README.md").read_text("utf-8", errors="replace")[:20_000]
    except OSError:
        return None
    head = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
    found = _LICENCE.search(head)
    return found[1] if found else None


def _kind_of(name: str) -> str:
    suffix = Path(name).suffix.lower()
    if name.endswith(".index.json"):
        return "index"
    if suffix in (".safetensors", ".gguf"):
        return suffix.lstrip(".")
    if suffix in (".bin", ".pt", ".pth"):
        return "pickled"
    if suffix == ".py":
        return "code"
    if name.startswith("chat_template"):
        return "template"
    if name in _TOKENIZER_FILES or name.startswith(("tokenizer", "special_tokens", "added_tokens")):
        return "tokenizer"
    if name in (CONFIG, ADAPTER_CONFIG, "generation_config.json"):
        return "configuration"
    return "other"
