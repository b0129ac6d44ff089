"""What the model writes before training, at every evaluation and at the end, for the same prompts.

A row with a prompt gives its prompt, answered greedily; a text gives its first words, continued
with a fixed seed. Prompts are ids of the data's own rows, so that what is shown is what is taught.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from hfgen.errors import UsageError
from hfgen.generation.engine import Engine
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Prompt
from hfgen.generation.requests import RequestMaker
from hfgen.generation.results import TextInProgress
from hfgen.generation.scheduler import Scheduler
from hfgen.models.checkpoint.chat_template import chosen_template
from hfgen.models.checkpoint.load_checks import brief
from hfgen.training.data.encode import EncodedExample
from hfgen.training.events import Sample

PROMPTS = 2
NEW_TOKENS = 64
_TEXT_TOKENS = 12
_SEED = 0
_MARK = "\ue000"


@dataclass(frozen=True)
class SamplePrompt:
    """Where a sample begins."""

    ids: tuple[int, ...]
    is_text: bool
    """Whether it is continued by sampling; an answer is the most likely one."""


def sample_prompts(examples: Sequence[EncodedExample], window: int | None) -> list[SamplePrompt]:
    """The beginnings of the first examples, and of one further on."""
    found: list[SamplePrompt] = []
    for example in [*examples[:1], *examples[len(examples) // 2 :]]:
        first = example.is_learned.index(True) if True in example.is_learned else 0
        is_text = example.is_text or first <= 1
        ids = example.ids[: min(_TEXT_TOKENS, 1 + len(example.ids) // 3) if is_text else first]
        has_room = window is None or len(ids) + NEW_TOKENS // 2 <= window
        prompt = SamplePrompt(tuple(ids), is_text)
        if has_room and prompt not in found:
            found.append(prompt)
        if len(found) == PROMPTS:
            break
    return found


class Sampler:
    """Generates the samples of one run."""

    def __init__(self, tokenizer: Any, window: int | None, prompts: Sequence[SamplePrompt]) -> None:
        self._tokenizer = tokenizer
        self._window = window
        self._prompts = prompts
        self.failure: str | None = None
        """Why there are no samples although there are prompts."""

    def sample(self, model: Any) -> tuple[Sample, ...]:
        """Generate from a stock model, left as it was; nothing where it cannot be decoded."""
        if not self._prompts:
            return ()
        with evaluating(model):
            try:
                return self._generate(model)
            except Exception as error:  # noqa: BLE001 (what cannot be decoded can be trained)
                self.failure = f"no samples: {brief(error)}"
                self._prompts = ()
                return ()

    def _generate(self, model: Any) -> tuple[Sample, ...]:
        engine = Engine(model, self._tokenizer, slots=len(self._prompts), window=self._window)
        scheduler = Scheduler(engine)
        maker = RequestMaker(model, self._tokenizer, self._window)
        for index, prompt in enumerate(self._prompts):
            # Greedy for answers; texts would repeat themselves.
            options = GenerationOptions(do_sample=prompt.is_text, seed=_SEED)
            options = replace(options, max_new_tokens=self._room(prompt))
            text = typed_prompt(self._tokenizer, self._tokenizer.decode(list(prompt.ids)))
            (request,) = maker.make(Prompt("a"), index, options, Reading(raw=True))
            request = replace(request, prompt_ids=prompt.ids)
            scheduler.submit([TextInProgress(Prompt(text), request, model="")])
        records = scheduler.finish()
        return tuple(Sample(r.prompt, r.completion, r.finish_reason) for r in records)

    def _room(self, prompt: SamplePrompt) -> int:
        room = NEW_TOKENS if self._window is None else self._window - len(prompt.ids)
        return max(1, min(NEW_TOKENS, room))


def typed_prompt(tokenizer: Any, rendered: str) -> str:
    """What a user types to get this prompt: a message without what the chat template adds."""
    with contextlib.suppress(UsageError):  # no template, or none that counts for texts
        whole = tokenizer.apply_chat_template(
            [{"role": "user", "content": _MARK}],
            chat_template=chosen_template(tokenizer),
            add_generation_prompt=True,
            tokenize=False,
        )
        before, _, after = whole.partition(_MARK)
        if rendered.startswith(before) and rendered.endswith(after):
            return rendered[len(before) : len(rendered) - len(after)]
    return rendered


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Have the model compute without dropout and gradients; random numbers are left alone."""
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            yield
    finally:
        model.train(was_training)
