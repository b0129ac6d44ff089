"""From a text and labels to the tokens that are scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfgen.errors import ContextOverflow
from hfgen.generation.options.config import end_of_text_ids
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import PromptEncoder, Reading
from hfgen.mentions import mention
from hfgen.models.checkpoint.chat_template import chosen_template
from hfgen.scoring.scorer import Request
from hfgen.tasks.few_shot import Shot
from hfgen.tasks.labels import Form, Label, descriptions


class LabelPrompts:
    """Writes the prompts of one classification for one model."""

    def __init__(self, lm: Any, labels: Sequence[Label], form: Form, shots: Sequence[Shot]) -> None:
        self._lm = lm
        self._labels = labels
        self._form = form
        self._reading = Reading(raw=not form.is_chat)
        self._encoder = PromptEncoder(lm.tokenizer)
        self._end_ids = end_of_text_ids(GenerationOptions(), lm.model, lm.tokenizer)
        words = {label.name: label.words for label in labels}
        examples = ["".join(form.fill(shot.text, words[shot.label])) for shot in shots]
        about = [part for part in (form.instruction, descriptions(labels)) if part]
        self._before = "".join(f"{part}\n\n" for part in ["\n".join(about), *examples] if part)

    def prompt(self, text: str) -> str:
        """What the model reads before a label, without its chat template."""
        return self._before + self._form.fill(text, "")[0]

    def requests(self, text: str, index: int) -> list[Request]:
        """What is asked of the model, a request for each label.

        Raises `ContextOverflow` where prompt and label are longer than the window.
        """
        prompt = self.prompt(text)
        context = tuple(self._lm.encode(prompt, self._reading).ids)
        found = []
        for label in self._labels:
            words = self._form.fill(text, label.words)[1]
            target = self._answer(prompt, list(context), words)
            found.append(Request(context, tuple(target)))
        longest = max(len(request.input_ids) for request in found)
        if self._lm.window is not None and longest > self._lm.window:
            error = ContextOverflow(
                f"text {index}: prompt and label have {longest:,} tokens to read, the model's "
                f"window has {self._lm.window:,}",
                hint=f"shorten the text, or give fewer examples with {mention('shots', 2)}",
            )
            error.prompt_index = index
            raise error
        return found

    def _answer(self, prompt: str, prompt_ids: list[int], words: str) -> list[int]:
        if self._form.is_chat and self._encoder.has_template:
            return self._chat_answer(prompt, prompt_ids, words.strip())
        ids = self._encoder.encode_continuation(prompt, prompt_ids, words)
        if self._form.is_closed:
            own = self._lm.tokenizer.eos_token_id
            ids += [own] if own in self._end_ids else self._end_ids[:1]
        return ids

    def _chat_answer(self, prompt: str, prompt_ids: list[int], words: str) -> list[int]:
        """The label as the chat template writes an answer, up to the token that ends it."""
        ids = self._lm.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": words}],
            chat_template=chosen_template(self._lm.tokenizer),
            return_dict=False,
            sanitize_control_tokens=True,
        )
        ids = [int(token_id) for token_id in ids]
        if ids[: len(prompt_ids)] != prompt_ids:
            return self._encoder.encode_continuation(prompt, prompt_ids, words)
        answer = ids[len(prompt_ids) :]
        ends = [at for at, token_id in enumerate(answer) if token_id in self._end_ids]
        if not ends:
            return answer
        return answer[: ends[-1] + self._form.is_closed]
