"""What a model needs to run, before it is loaded: weights, KV cache, working memory.

Computed from the configuration (of a GGUF file: its header). The peak is the larger of two:

    loading      weights, and the file they are read from where its dtype is another one
    generating   weights, KV cache of every text at full context, and working memory: activations of
                 the prompts that are computed together, and the copy of their keys that is made
                 then. Both count, since the C library keeps small blocks that were freed; large
                 ones it gives back, and the larger of the two counts.

The program itself (about 0.4 GB) comes on top. Prompts are taken to be nearly as long as the
context; shorter ones need less.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfgen.errors import HubUnreachable, ModelDamaged, ModelNotFound
from hfgen.models.checkpoint.layout import CONFIG, read_config
from hfgen.models.gguf.header import read_header
from hfgen.models.naming.resolve import Progress, ResolvedModel, resolve
from hfgen.models.sizing.memory import Memory, gpu_memory, main_memory
from hfgen.models.sizing.shape import Shape, shape_of, shape_of_gguf

DTYPES = ("float32", "bfloat16", "int8", "int4")
"""Half precision is called bfloat16 here; float16 needs the same."""

QUANTIZED = ("int8", "int4")
"""int8 is what `generate --quantize int8` holds on a CPU: embeddings, cache and the rest stay in
float32, and the head is held apart from the embeddings. int4 is for comparison."""

_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "int4": 0.5}
# Scales of blocks, in bytes for each quantized weight.
_SCALES = {"int8": 1 / 256, "int4": 1 / 32}
# For each weight of the embeddings: themselves, and the head.
_EMBEDDING_BYTES = {"int8": 5, "int4": 2}
_ASSUMED_WINDOW = 2048
# Most prompt tokens in one forward pass, as the engine has it.
_PREFILL_TOKENS = 8192
# The most that live at once in a layer: values of the feed-forward width, and of the model's.
_INNER_VALUES = {True: 3, False: 6}
_WIDTH_VALUES = 8
# glibc's largest threshold above which a freed block goes back to the system.
_KEPT_BLOCK_BYTES = 32 * 2**20
# Copies of the scores of the whole vocabulary while a token is chosen.
_SCORE_COPIES = 4
# How long the Hub may take to send a configuration.
_ANSWER_S = 10.0


@dataclass(frozen=True)
class Need:
    """What one dtype needs, in bytes."""

    dtype: str
    weights_bytes: int
    kv_bytes: int
    working_bytes: int
    loading_bytes: int
    """On top of the weights, while they are read."""

    @property
    def peak_bytes(self) -> int:
        """The most that is held at once, the program itself not counted."""
        return self.weights_bytes + max(self.loading_bytes, self.kv_bytes + self.working_bytes)


@dataclass(frozen=True)
class Estimate:
    """What a model needs, and what this machine has."""

    name: str
    shape: Shape
    context: int
    """Tokens of prompt and text together."""
    slots: int
    """Texts at once."""
    needs: tuple[Need, ...]
    memories: tuple[Memory, ...]

    def fits(self, need: Need, memory: Memory) -> bool:
        """Whether it fits into what is left of a memory now."""
        return need.peak_bytes <= memory.available_bytes

    def to_dict(self) -> dict[str, object]:
        """Return the estimate as it is written in JSON."""
        return {
            "model": self.name,
            "parameters": self.shape.weights,
            "window": self.shape.window,
            "context": self.context,
            "slots": self.slots,
            "kv_bytes_per_token": {n.dtype: _kv(self.shape, n.dtype, 1) for n in self.needs},
            "needs": [
                {
                    "dtype": need.dtype,
                    "weights_bytes": need.weights_bytes,
                    "kv_bytes": need.kv_bytes,
                    "working_bytes": need.working_bytes,
                    "loading_bytes": need.loading_bytes,
                    "peak_bytes": need.peak_bytes,
                    "fits": {memory.device: self.fits(need, memory) for memory in self.memories},
                }
                for need in self.needs
            ],
            "memory": [
                {
                    "device": memory.device,
                    "total_bytes": memory.total_bytes,
                    "available_bytes": memory.available_bytes,
                }
                for memory in self.memories
            ],
        }


def estimate(
    name: str | None,
    *,
    context: int | None = None,
    slots: int = 1,
    offline: bool = False,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate what the model of that name needs; of one that is not here the Hub is asked.

    `context` is the model's window by default (2,048 tokens where it has none), and at most that.
    Raises what `resolve` raises, and `ModelUnsupported` for an unknown architecture.
    """
    found_name, shape, saved_as = _described(name, offline, progress)
    most = shape.window or _ASSUMED_WINDOW
    tokens = most if context is None else min(context, shape.window or context)
    needs = tuple(need_of(shape, dtype, saved_as, tokens, slots) for dtype in DTYPES)
    memories = tuple(memory for memory in (main_memory(), gpu_memory()) if memory is not None)
    return Estimate(found_name, shape, tokens, slots, needs, memories)


def need_of(shape: Shape, dtype: str, saved_as: str | None, context: int, slots: int) -> Need:
    """Return what a dtype needs; `saved_as` is the dtype of the files, None when unknown."""
    weights = _weights(shape, dtype)
    prefill = min(slots, max(1, _PREFILL_TOKENS // context)) * context
    size = {"int8": 4.0, "int4": 2.0}.get(dtype, _BYTES[dtype])
    values = _INNER_VALUES[shape.is_gated] * shape.inner + _WIDTH_VALUES * shape.width
    activations, copies = int(prefill * values * size), _kv(shape, dtype, prefill)
    is_kept = prefill < slots * context or prefill * shape.inner * size < _KEPT_BLOCK_BYTES
    working = activations + copies if is_kept else max(activations, copies)
    scores = slots * shape.vocabulary * 4 * _SCORE_COPIES
    is_other = saved_as is not None and _BYTES.get(saved_as) != _BYTES[dtype]
    is_read = is_other and dtype not in QUANTIZED
    return Need(
        dtype=dtype,
        weights_bytes=weights,
        kv_bytes=_kv(shape, dtype, context * slots),
        working_bytes=working + scores,
        loading_bytes=_weights(shape, saved_as) if is_read and saved_as is not None else 0,
    )


def in_gigabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _weights(shape: Shape, dtype: str) -> int:
    if dtype not in QUANTIZED:
        return int(shape.weights * _BYTES[dtype])
    quantized = shape.weights - shape.embedding_weights
    return int(
        quantized * (_BYTES[dtype] + _SCALES[dtype])
        + shape.embedding_weights * _EMBEDDING_BYTES[dtype]
    )


def _kv(shape: Shape, dtype: str, tokens: int) -> int:
    return tokens * shape.cached_values * (4 if dtype in ("float32", "int8") else 2)


# Where the configuration comes from ---------------------------------------------------------


def _described(
    name: str | None, offline: bool, progress: Progress | None
) -> tuple[str, Shape, str | None]:
    """Return name, shape and the dtype of the files."""
    try:
        resolved = resolve(name, offline=True)
    except HubUnreachable as error:
        from hfgen.models.hub import client
        from hfgen.models.naming.aliases import find_alias
        from hfgen.models.naming.names import hub_name

        target = hub_name(find_alias(name or "") or name or "")
        if target is None or offline or client.is_offline():
            raise
        if not client.is_hub_reachable():
            raise HubUnreachable(
                f"{name} is not on this machine and the Hugging Face Hub cannot be reached",
                hint=error.hint,
            ) from error
        config = _fetched(target[0], target[1], progress)
        return name or "", shape_of(config), _saved_as(config)
    return resolved.name, *local_shape(resolved)


def local_shape(resolved: ResolvedModel) -> tuple[Shape, str | None]:
    """Return the shape of a model that is here, and the dtype of its files (None if unknown)."""
    model = resolved.base or resolved
    if model.source == "gguf":
        return shape_of_gguf(read_header(model.path)), "float32"
    config = read_config(model.path)
    return shape_of(config), _saved_as(config)


def _saved_as(config: Mapping[str, Any]) -> str | None:
    named = config.get("dtype") or config.get("torch_dtype")
    return named if isinstance(named, str) and named in _BYTES else None


def _fetched(repo_id: str, revision: str | None, progress: Progress | None) -> dict[str, Any]:
    """Ask the Hub for the configuration alone; in the cache it would pass for half a model."""
    from huggingface_hub import constants, get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, httpx

    from hfgen.models.hub import client
    from hfgen.models.hub.errors import translate
    from hfgen.models.silence import quiet

    listing = client.look_up(repo_id, revision, progress)
    if CONFIG not in listing.files:
        raise ModelNotFound(
            f"{repo_id} on the Hub has no {CONFIG}", hint="name a repository with a model"
        )
    url = hf_hub_url(repo_id, CONFIG, revision=listing.commit, endpoint=constants.ENDPOINT)
    try:
        with quiet():
            answer = get_session().get(
                url, headers=build_hf_headers(), follow_redirects=True, timeout=_ANSWER_S
            )
            hf_raise_for_status(answer)
    except (OSError, httpx.HTTPError) as error:
        raise translate(error, repo_id, revision) from error
    try:
        config = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise ModelDamaged(f"{CONFIG} of {repo_id} on the Hub is no valid JSON") from error
    if not isinstance(config, dict):
        raise ModelDamaged(f"{CONFIG} of {repo_id} on the Hub does not hold a JSON object")
    return config
