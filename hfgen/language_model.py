"""`LanguageModel`: a loaded model that generates; the three rungs over the engine.

Events of token ids (the engine) become a stream of text pieces (`stream`), and the stream becomes
records (`generate`). `lm.model` and `lm.tokenizer` are stock Transformers objects.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from hfgen.errors import HfgenError, UsageError
from hfgen.generation.options import GenerationOptions
from hfgen.generation.records import (
    NOT_YET,
    FinishReason,
    Pending,
    Piece,
    Prompt,
    Record,
    TokenLogprob,
)
from hfgen.models.resolve import resolve

if TYPE_CHECKING:
    from hfgen.generation.engine import Event, Statistics
    from hfgen.generation.rows import Request
    from hfgen.models.load import LoadedModel

DEFAULT_SLOTS = 16

_END = object()
# How long to wait for a prompt when there is nothing else to do.
_POLL_S = 0.005


@dataclass(frozen=True)
class RunStatistics:
    """What a run cost, in seconds, tokens and bytes."""

    load_s: float
    """Imports and weights; 0 in the second and later runs of a model."""
    first_token_s: float
    """From the start of the run to the first token."""
    prefill_tokens: int
    prefill_s: float
    decode_tokens: int
    decode_s: float
    peak_bytes: int
    """Most memory held by the process, or by the GPU's allocator."""


@dataclass
class _Text:
    """One text in the making."""

    prompt: Prompt
    request: Request
    parts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def record(self, model: str, finish_reason: FinishReason) -> Record:
        index, _ = self.request.key
        return Record(
            index=index,
            id=self.prompt.id,
            model=model,
            prompt=self.prompt.text,
            completion="".join(self.parts),
            finish_reason=finish_reason,
            seed=self.request.seed,
            prompt_tokens=len(self.request.prompt_ids),
            completion_tokens=len(self.ids),
            token_ids=tuple(self.ids),
            logprobs=None if self.request.logprobs is None else tuple(self.logprobs),
        )


class LanguageModel:
    """A model ready to generate; made by `hfgen.load`."""

    def __init__(self, loaded: LoadedModel, *, load_s: float = 0.0) -> None:
        from hfgen.generation.requests import RequestMaker

        self.model = loaded.model
        """The stock Transformers model, in evaluation mode."""
        self.tokenizer = loaded.tokenizer
        """The stock Transformers tokenizer."""
        self.name = loaded.resolved.name
        self.window = loaded.window
        """Most tokens of prompt and text together; None where there is no limit."""
        self.notices = loaded.resolved.notices
        """What the user should know of the choice of model, a line each."""
        self.statistics: RunStatistics | None = None
        """Of the newest run, from its end on."""
        self._load_s = load_s
        self._requests = RequestMaker(self.model, self.tokenizer, self.window)

    @overload
    def generate(
        self,
        prompts: str | Prompt,
        options: GenerationOptions | None = None,
        *,
        slots: int = DEFAULT_SLOTS,
        allow_special: bool = False,
        **kwargs: Any,
    ) -> Record: ...

    @overload
    def generate(
        self,
        prompts: Iterable[str | Prompt],
        options: GenerationOptions | None = None,
        *,
        slots: int = DEFAULT_SLOTS,
        allow_special: bool = False,
        **kwargs: Any,
    ) -> list[Record]: ...

    def generate(
        self,
        prompts: str | Prompt | Iterable[str | Prompt],
        options: GenerationOptions | None = None,
        *,
        slots: int = DEFAULT_SLOTS,
        allow_special: bool = False,
        **kwargs: Any,
    ) -> Record | list[Record]:
        """Generate and return the record of one prompt, or the records of a list, in order.

        A list gives `num_return_sequences` records for each prompt. Parameters and errors are
        those of `stream`.
        """
        is_single = isinstance(prompts, (str, Prompt))
        merged = _merged(options, kwargs)
        if is_single and (merged.num_return_sequences or 1) > 1:
            raise UsageError(
                "one prompt returns one record, num_return_sequences asks for more",
                hint="pass a list of one prompt",
            )
        found = [
            ((piece.index, piece.sample), piece.record)
            for piece in self.stream(prompts, merged, slots=slots, allow_special=allow_special)
            if piece.record is not None
        ]
        records = [record for _, record in sorted(found, key=lambda item: item[0])]
        return records[0] if is_single else records

    def stream(
        self,
        prompts: str | Prompt | Iterable[str | Prompt | Pending],
        options: GenerationOptions | None = None,
        *,
        slots: int = DEFAULT_SLOTS,
        allow_special: bool = False,
        **kwargs: Any,
    ) -> Iterator[Piece]:
        """Generate and yield text as it becomes certain.

        `prompts` is one prompt or any iterable of them, which is read only as slots become free
        (an iterator that would have to wait yields `NOT_YET` instead); pieces of different prompts
        interleave, and the last piece of each text carries its record. `kwargs` are options by
        name and override `options`. `slots` texts are decoded at once. Special tokens in the
        prompt's text are plain text unless `allow_special`.

        Prompt i of the run is generated with seed + i, unless it brings its own; without a seed
        one is drawn. Raises `UsageError` for wrong options, `ContextOverflow` when prompt and
        length exceed the window, `GenerationFailed` when a text has nothing to choose from; an
        error of one prompt is raised when the texts begun before it are finished.
        """
        merged = _merged(options, kwargs)
        if slots < 1:
            raise UsageError(f"slots is {slots}, at least 1 is needed")
        if merged.seed is None:
            merged = GenerationOptions(seed=secrets.randbits(32)).over(merged)
        if isinstance(prompts, (str, Prompt)):
            prompts = [prompts]
        return self._stream(prompts, merged, slots, allow_special)

    def _stream(
        self,
        prompts: Iterable[str | Prompt | Pending],
        options: GenerationOptions,
        slots: int,
        allow_special: bool,
    ) -> Iterator[Piece]:
        from hfgen.generation.engine import Engine

        engine = Engine(self.model, self.tokenizer, slots=slots, window=self.window)
        texts: dict[tuple[int, int], _Text] = {}
        source = iter(prompts)
        index = 0
        is_open = True
        failure: HfgenError | None = None
        try:
            while is_open or engine.has_work:
                while is_open and engine.free_slots:
                    prompt = next(source, _END)
                    if prompt is NOT_YET:
                        if not engine.has_work:
                            time.sleep(_POLL_S)
                        break
                    if prompt is _END:
                        is_open = False
                        break
                    try:
                        new = self._prepare(prompt, index, options, allow_special)
                        if new[0].request.config.num_beams > 1:
                            yield from self._search(new[0])
                            continue
                    except HfgenError as error:
                        failure, is_open = failure or _of_prompt(error, index), False
                        break
                    finally:
                        index += 1
                    for text in new:
                        texts[text.request.key] = text
                        engine.submit(text.request)
                for event in engine.step() if engine.has_work else ():
                    if event.error is not None:
                        failure, is_open = failure or _of_prompt(event.error, event.key[0]), False
                    elif (piece := self._piece(texts, event)) is not None:
                        yield piece
            if failure is not None:
                raise failure
        finally:
            self._note_statistics(engine.statistics)

    def _prepare(
        self, prompt: object, index: int, options: GenerationOptions, allow_special: bool
    ) -> list[_Text]:
        if isinstance(prompt, str):
            prompt = Prompt(prompt)
        if not isinstance(prompt, Prompt):
            raise UsageError(f"prompt {index} is a {type(prompt).__name__}, not a text")
        requests = self._requests.make(prompt, index, options, allow_special=allow_special)
        return [_Text(prompt, request) for request in requests]

    def _piece(self, texts: dict[tuple[int, int], _Text], event: Event) -> Piece | None:
        """Add an event to its text; None when it brings nothing to show."""
        text = texts[event.key]
        if event.text:
            text.parts.append(event.text)
        text.ids.append(event.token_id)
        if event.logprob is not None:
            text.logprobs.append(event.logprob)
        record = None
        if event.finish_reason is not None:
            record = texts.pop(event.key).record(self.name, event.finish_reason)
        if not event.text and record is None and event.logprob is None:
            return None
        logprobs = (event.logprob,) if event.logprob is not None else ()
        return Piece(*event.key, event.text, logprobs, record)

    def _search(self, text: _Text) -> Iterator[Piece]:
        """Run a beam search; each of its texts comes as a single piece."""
        from hfgen.generation.beams import search

        index, _ = text.request.key
        for sample, (ids, completion, reason) in enumerate(
            search(self.model, self.tokenizer, text.request)
        ):
            found = _Text(text.prompt, text.request, [completion], ids)
            yield Piece(index, sample, completion, record=found.record(self.name, reason))

    def _note_statistics(self, engine: Statistics) -> None:
        self.statistics = RunStatistics(
            load_s=self._load_s,
            first_token_s=engine.first_token_s or 0.0,
            prefill_tokens=engine.prefill_tokens,
            prefill_s=engine.prefill_s,
            decode_tokens=engine.decode_tokens,
            decode_s=engine.decode_s,
            peak_bytes=_peak_bytes(self.model.device),
        )
        self._load_s = 0.0


def load(
    name: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    offline: bool = False,
    progress: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Load a model by alias, Hub id (`id@revision`) or local folder.

    None means `gpt2`, or the bundled model where that is neither cached nor reachable. `device`
    is "auto", "cpu", "cuda", "cuda:1" or "mps"; `dtype` "auto" (float32 on a CPU, bfloat16 on a
    GPU), "float32", "bfloat16" or "float16". `progress` receives one-line messages. Raises
    subclasses of `ModelError`, and `UsageError` for a wrong device or dtype.
    """
    from hfgen.models.devices import check_device_name, check_dtype_name

    began = time.perf_counter()
    check_device_name(device)
    check_dtype_name(dtype)
    resolved = resolve(name, offline=offline, progress=progress)
    from hfgen.models.load import load as load_resolved

    loaded = load_resolved(
        resolved, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    )
    return LanguageModel(loaded, load_s=time.perf_counter() - began)


def _of_prompt(error: HfgenError, index: int) -> HfgenError:
    """Note which prompt an error is about."""
    error.prompt_index = index
    return error


def _merged(options: GenerationOptions | None, kwargs: dict[str, Any]) -> GenerationOptions:
    """Keyword arguments over an options object."""
    return GenerationOptions.from_mapping(kwargs).over(options or GenerationOptions())


def _peak_bytes(device: Any) -> int:
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
