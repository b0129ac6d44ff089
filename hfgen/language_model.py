"""`LanguageModel`: a loaded model that generates; the three rungs over the engine.

Events of token ids (the engine) become a stream of text pieces (`stream`), and the stream becomes
records (`generate`). `lm.model` and `lm.tokenizer` are stock Transformers objects.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack, overload

from hfgen.errors import HfgenError, ModelUnsupported, UsageError
from hfgen.generation.options.keywords import GenerationKeywords
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.options.presets import options_of
from hfgen.generation.prompts.conversation import Messages, as_prompt, is_prompt, read_messages
from hfgen.generation.prompts.encode import Encoded, Reading
from hfgen.generation.records import NOT_YET, Pending, Piece, Prompt, Record
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.named import load_named
from hfgen.models.sizing.quantities import in_short

if TYPE_CHECKING:
    from hfgen.dialogue.chat import Chat
    from hfgen.generation.engine import Engine
    from hfgen.generation.results import TextInProgress
    from hfgen.generation.scheduler import Scheduler
    from hfgen.generation.statistics import RunStatistics
    from hfgen.generation.thinking import Splitter
    from hfgen.models.checkpoint.load import LoadedModel
    from hfgen.scoring.asked import By, ScoredText
    from hfgen.scoring.scorer import Scorer
    from hfgen.scoring.texts import TextScore
    from hfgen.tasks.classification import Classification
    from hfgen.tasks.classifying import ClassifyKeywords
    from hfgen.tasks.trained import Trained

DEFAULT_SLOTS = 16

_END = object()
# How long to wait for a prompt when there is nothing else to do.
_POLL_S = 0.005


class GenerateKeywords(GenerationKeywords, total=False):
    """Keyword arguments of `generate`: options, and what `stream` takes besides."""

    slots: int
    allow_special: bool
    raw: bool
    system: str | None
    chat_template: str | None
    progress: Callable[[int, int], None] | None


_NO_OPTIONS = frozenset(GenerateKeywords.__annotations__) - set(GenerationKeywords.__annotations__)


class LanguageModel:
    """A model ready to generate; made by `hfgen.load`."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        options: LoadOptions | None = None,
        load_s: float = 0.0,
    ) -> None:
        """`options` are those that it was loaded with; None for a model that is no file's."""
        from hfgen.generation.cpu.prepared import prepared
        from hfgen.generation.requests import RequestMaker

        began = time.perf_counter()
        how = options or LoadOptions()
        self._parameters = int(loaded.model.num_parameters())
        self._decoding = prepared(loaded.model, quantize=how.quantize, is_own=not how.stock)
        self.model = loaded.model
        """The stock Transformers model, in evaluation mode; the engine's own without `stock`."""
        self.tokenizer = loaded.tokenizer
        """The stock Transformers tokenizer."""
        self.name = loaded.resolved.name
        self._resolved = loaded.resolved
        self.window = loaded.window
        """Most tokens of prompt and text together; None where there is no limit."""
        self.notices = loaded.resolved.notices
        """What the user should know of the choice of model, a line each."""
        self.statistics: RunStatistics | None = None
        """Of the newest run, from its end on."""
        self.is_chat = loaded.is_chat
        """Whether prompts go through a chat template."""
        self._loaded_with = options
        self._load_s = load_s + time.perf_counter() - began
        self._assistants: dict[str, Any] = {}
        self._requests = RequestMaker(self._decoding, self.tokenizer, self.window)

    def __repr__(self) -> str:
        quantize = None if self._loaded_with is None else self._loaded_with.quantize
        kind = quantize or str(self.model.dtype).removeprefix("torch.")
        window = "no limit" if self.window is None else f"{self.window:,} tokens"
        facts = f"{in_short(self._parameters)} parameters, {kind}, {self.model.device}"
        chat = ", answers through its chat template" if self.is_chat else ""
        return f"<LanguageModel {self.name}: {facts}, context {window}{chat}>"

    # Nothing is a mapping and a sequence at once, though types cannot say so.
    @overload
    def generate(  # type: ignore[overload-overlap]
        self,
        prompts: str | Prompt | Messages,
        options: GenerationOptions | None = None,
        **settings: Unpack[GenerateKeywords],
    ) -> Record: ...

    @overload
    def generate(
        self,
        prompts: Iterable[str | Prompt | Messages],
        options: GenerationOptions | None = None,
        **settings: Unpack[GenerateKeywords],
    ) -> list[Record]: ...

    def generate(
        self,
        prompts: str | Prompt | Messages | Iterable[str | Prompt | Messages],
        options: GenerationOptions | None = None,
        **settings: Unpack[GenerateKeywords],
    ) -> Record | list[Record]:
        """Generate and return the record of one prompt, or the records of a list, in order.

        A prompt is a text, a `Prompt`, or a conversation to be answered, as
        `[{"role": "user", "content": "Hello"}]` (a base model gets it as a transcript). A list of
        prompts gives `num_return_sequences` records for each. Settings, options by name and errors
        are those of `stream`.
        """
        is_single = is_prompt(prompts)
        if is_single:
            given = {name: value for name, value in settings.items() if name not in _NO_OPTIONS}
            _check_single(prompts, _merged(options, given))
        found = [
            ((piece.index, piece.sample), piece.record)
            for piece in self.stream(prompts, options, **settings)
            if piece.record is not None
        ]
        records = [record for _, record in sorted(found, key=lambda item: item[0])]
        return records[0] if is_single else records

    def stream(
        self,
        prompts: str | Prompt | Messages | Iterable[str | Prompt | Messages | Pending],
        options: GenerationOptions | None = None,
        *,
        slots: int = DEFAULT_SLOTS,
        allow_special: bool = False,
        raw: bool = False,
        system: str | None = None,
        chat_template: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        **kwargs: Unpack[GenerationKeywords],
    ) -> Iterator[Piece]:
        """Generate and yield text as it becomes certain.

        `prompts` is one prompt, as in `generate`, or any iterable of them, which is read only as
        slots become free (an iterator that would have to wait yields `NOT_YET` instead); pieces of
        different prompts interleave, and the last piece of each text carries its record. `kwargs`
        are options by name or by their flag's (`stop`, `greedy`); they override `preset`, which
        overrides `options`. `slots` texts are decoded at once. Special tokens in the prompt's text
        are plain text unless `allow_special`. A chat model is asked through its template, with
        `system` as system message, unless `raw`; `chat_template` names one where it has several.
        `progress` is told how many tokens of the prompts that enter together are computed, and how
        many there are: first of all, and as a long one goes on.

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
        several: Any = [prompts] if is_prompt(prompts) else prompts
        reading = Reading(allow_special, raw, system, chat_template)
        return self._stream(several, merged, self.scheduler(slots, progress=progress), reading)

    def _stream(
        self,
        prompts: Iterable[str | Prompt | Messages | Pending],
        options: GenerationOptions,
        scheduler: Scheduler,
        reading: Reading,
    ) -> Iterator[Piece]:
        from hfgen.generation.scheduler import Failed
        from hfgen.generation.statistics import run_statistics

        source = iter(prompts)
        index = 0
        failure: HfgenError | None = None
        try:
            while scheduler.more_will_come or scheduler.has_work:
                while scheduler.more_will_come and scheduler.free_slots:
                    prompt = next(source, _END)
                    if prompt is NOT_YET:
                        if not scheduler.has_work:
                            time.sleep(_POLL_S)
                        break
                    if prompt is _END:
                        scheduler.more_will_come = False
                        break
                    try:
                        scheduler.submit(self.prepare(prompt, index, options, reading))
                    except HfgenError as error:
                        failure = failure or _of_prompt(error, index)
                        scheduler.more_will_come = False
                    index += 1
                for found in scheduler.step():
                    if isinstance(found, Failed):
                        failure = failure or _of_prompt(found.error, found.index)
                        scheduler.more_will_come = False
                    else:
                        yield found
            if failure is not None:
                raise failure
        finally:
            self.statistics = run_statistics(scheduler.statistics, self._load_s, self.model.device)
            self._load_s = 0.0

    def chat(
        self,
        system: str | None = None,
        options: GenerationOptions | None = None,
        *,
        messages: Messages = (),
        allow_special: bool = False,
        chat_template: str | None = None,
        notify: Callable[[str], None] = lambda text: None,
        **kwargs: Unpack[GenerationKeywords],
    ) -> Chat:
        """Begin a dialogue: `chat.send("Hello")` returns the answer's record.

        `chat.stream` yields the answer's pieces, `chat.messages` are all turns, and `undo`,
        `retry` and `edit` go back in them. `messages` is what was said before. Answer i is
        generated with seed + i. Where the window is full the oldest turns are left out, and
        `notify` hears of it, unless `overflow` chooses otherwise. A base model answers in a plain
        transcript. The rest is as in `stream`.
        """
        from hfgen.dialogue.chat import Chat
        from hfgen.dialogue.conversation import Conversation, Message

        reading = Reading(allow_special=allow_special, chat_template=chat_template)
        self.check_reading(reading)
        try:
            said = read_messages(list(messages), is_open=False) if messages else ()
        except ValueError as error:
            raise UsageError(str(error)) from error
        conversation = Conversation(Message(one["role"], one["content"]) for one in said)
        if system is not None:
            conversation.set_system(system)
        return Chat(self, conversation, _merged(options, kwargs), reading, notify=notify)

    def fingerprint(self) -> str:
        """By what the model's files are known again: a commit of the Hub, or a hash."""
        from hfgen.models.checkpoint.fingerprint import fingerprint

        return fingerprint(self._resolved)

    def engine(
        self,
        slots: int,
        *,
        progress: Callable[[int, int], None] | None = None,
        kept: int = 0,
    ) -> Engine:
        """An engine of this model; see `Engine`. `progress` is that of `stream`."""
        from hfgen.generation.engine import Engine

        return Engine(
            self._decoding, self.tokenizer, slots=slots, window=self.window,
            progress=progress, kept=kept,
        )  # fmt: skip

    def scheduler(
        self,
        slots: int,
        *,
        progress: Callable[[int, int], None] | None = None,
        kept: int = 0,
        on_fewer_slots: Callable[[int], None] | None = None,
    ) -> Scheduler:
        """A scheduler over an engine of its own; see `engine` and `Scheduler`."""
        from hfgen.generation.scheduler import Scheduler

        engine = self.engine(slots, progress=progress, kept=kept)
        return Scheduler(engine, lm=self, on_fewer_slots=on_fewer_slots)

    def scorer(self) -> Scorer:
        """What computes log-probabilities of given tokens; see `hfgen.scoring`."""
        from hfgen.scoring.scorer import Scorer

        return Scorer(self._decoding, self.window)

    @overload
    def score(  # type: ignore[overload-overlap]
        self,
        texts: str | ScoredText,
        *,
        by: By = "text",
        bos: bool | None = None,
        stride: int | None = None,
    ) -> TextScore: ...

    @overload
    def score(
        self,
        texts: Iterable[str | ScoredText],
        *,
        by: By = "text",
        bos: bool | None = None,
        stride: int | None = None,
    ) -> list[TextScore]: ...

    def score(
        self,
        texts: str | ScoredText | Iterable[str | ScoredText],
        *,
        by: By = "text",
        bos: bool | None = None,
        stride: int | None = None,
    ) -> TextScore | list[TextScore]:
        """Log-probabilities of given texts; of one text, or of a list in its order.

        `by` adds the scores of each "token", "word" or "line". A text without context follows the
        token that begins texts unless `bos` is False or the model has none. A text longer than the
        window is scored in windows that advance by `stride` tokens (default: the window).
        """
        from hfgen.scoring.asked import ScoredText
        from hfgen.scoring.texts import TextScorer

        is_single = isinstance(texts, str | ScoredText)
        several: Any = [texts] if is_single else texts
        scorer = TextScorer(self.scorer(), self.tokenizer, bos=bos)
        read = (ScoredText(text) if isinstance(text, str) else text for text in several)
        found = list(scorer.scores(read, by=by, stride=stride))
        return found[0] if is_single else found

    @overload
    def classify(  # type: ignore[overload-overlap]
        self, texts: str, **how: Unpack[ClassifyKeywords]
    ) -> Classification: ...

    @overload
    def classify(
        self, texts: Iterable[str], **how: Unpack[ClassifyKeywords]
    ) -> list[Classification]: ...

    def classify(
        self, texts: str | Iterable[str], **how: Unpack[ClassifyKeywords]
    ) -> Classification | list[Classification]:
        """The label of a text, or the labels of a list in its order, by likelihood.

        `labels` are names, a mapping of names to what the model reads, or `hfgen.Label`s; `task`
        ("sentiment" or "topic") brings labels and a template, and so does a model that was
        fine-tuned on labelled rows. `examples` are (text, label) pairs, of which `shots` (default:
        all) are shown, chosen evenly by `seed`. `template` is as `{text}\\nLabel: {label}`;
        `calibration` is "none", "contextual" or "pmi" (`hfgen.tasks.classification`). A label less
        likely than `min_confidence` is None. Raises `UsageError`, `DataError` for examples of no
        label, and `ContextOverflow`.
        """
        from hfgen.tasks.classifying import classifier

        several = [texts] if isinstance(texts, str) else texts
        found = list(classifier(self, **how).classify(several))
        return found[0] if isinstance(texts, str) else found

    def trained_classifier(self) -> Trained | None:
        """The labels and the prompt that the model was fine-tuned on, if it was on labels."""
        from hfgen.tasks.trained import trained_classifier

        return trained_classifier(self._resolved.path)

    def extract(
        self,
        texts: str | Iterable[str],
        schema: str | Mapping[str, Any] | None = None,
        *,
        entities: Sequence[str] = (),
        examples: Iterable[tuple[str, Any]] = (),
        instruction: str | None = None,
        grounded: bool | None = None,
        **kwargs: Unpack[GenerationKeywords],
    ) -> Any:
        """Structured data from one text, or from a list of texts in its order.

        `schema` is a JSON schema or a list of fields, as `"name, age int, tags list"`; in its
        place stand `entities`, kinds of names to list, or `regex`, `choices` or `grammar` among
        the options. `examples` are pairs of a text and its answer. With `grounded` (the default
        for entities) strings are quoted from the text. Greedy unless an option says otherwise.
        """
        from hfgen.tasks.extraction import Extractor
        from hfgen.tasks.presets import Example, entities_task

        given = dict(kwargs) if schema is None else {**kwargs, "json_schema": schema}
        extractor = Extractor(
            self,
            entities_task(entities) if entities else None,
            _merged(None, given),
            examples=[Example(text, result) for text, result in examples],
            instruction=instruction,
            grounded=grounded,
        )
        several = [texts] if isinstance(texts, str) else texts
        found = [one.result for one in extractor.extract((text, None) for text in several)]
        return found[0] if isinstance(texts, str) else found

    def check_reading(self, reading: Reading) -> None:
        """Raise `UsageError` for a way of reading prompts that no prompt can have here."""
        self._requests.check(reading)

    def encode(self, prompt: object, reading: Reading) -> Encoded:
        """A prompt as the model reads it, whatever the window; raises what `stream` does."""
        return self._requests.encode(as_prompt(prompt), reading)

    def prepare(
        self, prompt: object, index: int, options: GenerationOptions, reading: Reading
    ) -> list[TextInProgress]:
        """The texts of a prompt, ready for the engine or `delegate`; raises what `stream` does."""
        from hfgen.generation.prompts.transcript import AnswerText
        from hfgen.generation.results import TextInProgress
        from hfgen.generation.thinking import splitter_for

        prompt = as_prompt(prompt, index)
        texts = []
        for request in self._requests.make(prompt, index, options, reading):
            make_splitter: Callable[[], Splitter | None] = AnswerText
            if request.grammar is not None:
                make_splitter = _no_splitter
            elif request.rendered is not None or not request.is_answer:
                make_splitter = partial(splitter_for, self.tokenizer, request.rendered)
            texts.append(TextInProgress(prompt, request, self.name, make_splitter))
        return texts

    def delegate(self, text: TextInProgress) -> Iterator[Piece]:
        """Run a beam search or assisted decoding; each of its texts comes as a single piece."""
        from hfgen.generation.beams import run

        request = text.request
        assistant = None if request.assistant is None else self._assistant(request.assistant)
        found = run(self._decoding, self.tokenizer, request, assistant=assistant)
        for sample, (ids, completion, reason) in enumerate(found):
            yield text.again().whole(sample, ids, completion, reason)

    def _assistant(self, name: str) -> Any:
        """The model that guesses ahead, loaded once; its vocabulary must be this model's."""
        if name not in self._assistants:
            if self._loaded_with is None:
                raise UsageError("assistant_model needs a model that was made by hfgen.load")
            other = load_named(replace(self._loaded_with, name=name))
            if other.tokenizer.get_vocab() != self.tokenizer.get_vocab():
                raise ModelUnsupported(
                    f"{name} has another vocabulary than {self.name} and cannot assist it",
                    hint="choose a smaller model of the same family",
                )
            self._assistants[name] = other.model
        return self._assistants[name]


def _no_splitter() -> None:
    """A constrained text is the answer from its first token on."""


def _of_prompt(error: HfgenError, index: int) -> HfgenError:
    """Note which prompt an error is about."""
    error.prompt_index = index
    return error


def _check_single(prompt: object, options: GenerationOptions) -> None:
    """Refuse more texts of a single prompt than the one record that it returns."""
    if isinstance(prompt, Prompt) and prompt.options is not None:
        options = prompt.options.over(options)
    if options.num_return_sequences not in (None, 1):
        raise UsageError(
            "one prompt returns one record, num_return_sequences asks for more",
            hint="pass a list of one prompt",
        )


def _merged(options: GenerationOptions | None, kwargs: Mapping[str, Any]) -> GenerationOptions:
    """Keyword arguments over a preset over an options object."""
    given = {name: value for name, value in kwargs.items() if name != "preset"}
    merged = GenerationOptions.from_mapping(given)
    if (preset := kwargs.get("preset")) is not None:
        merged = merged.over(options_of(preset))
    return merged.over(options or GenerationOptions())
