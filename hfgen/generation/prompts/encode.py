"""From a prompt's text or a conversation to token ids, for every kind of model.

A chat model is asked through its template, also with a text alone. A base model continues a text
as it is, and gets a conversation as a plain transcript (`hfgen.generation.prompts.transcript`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hfgen.errors import DataError, ModelUnsupported, UsageError
from hfgen.generation.prompts.transcript import STOP_STRINGS, transcript
from hfgen.mentions import mention
from hfgen.models.checkpoint.chat_template import chosen_template


@dataclass(frozen=True)
class Reading:
    """How the prompts of a run are read."""

    allow_special: bool = False
    """Special tokens written in a prompt are the tokens, not text."""
    raw: bool = False
    """A chat model continues the prompt as it is, without its template."""
    system: str | None = None
    """The system message of a chat model, or of a conversation that brings none."""
    chat_template: str | None = None
    """Which of a chat model's templates, by name; None is its default."""


@dataclass(frozen=True)
class Encoded:
    """A prompt as the model gets it."""

    ids: list[int]
    rendered: str | None = None
    """What the chat template wrote; None where none was used."""
    is_answer: bool = False
    """Whether the model answers, and does not continue the prompt's text."""
    stop_strings: tuple[str, ...] = ()
    """What ends the text besides the options' own."""


class PromptEncoder:
    """Encodes prompts for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.has_template = bool(getattr(tokenizer, "chat_template", None))

    def check(self, reading: Reading) -> None:
        """Raise `UsageError` for a reading that no prompt can have with this model."""
        if reading.raw:
            _refuse_chat_settings(reading)
        elif self.has_template:
            chosen_template(self._tokenizer, reading.chat_template)
        else:
            _refuse_chat_settings(replace(reading, system=None))

    def encode(self, text: str, reading: Reading) -> Encoded:
        """Encode a prompt: as a user's message for a chat model, as text for a base model.

        Special and control tokens written in it are plain text unless allowed. An empty text
        becomes the token that begins texts. Raises `ModelUnsupported` where there is none,
        `DataError` for text that is no valid Unicode, `UsageError` for a system message or the name
        of a template that the model has no place for, and where a template has to be named.
        """
        try:
            if self.has_template and not reading.raw:
                return self.encode_messages([{"role": "user", "content": text}], reading)
            _refuse_chat_settings(reading)
            return Encoded(self.encode_text(text, allow_special=reading.allow_special))
        except (UnicodeEncodeError, TypeError) as error:
            raise DataError("the prompt is not valid Unicode text") from error

    def encode_messages(self, messages: Sequence[dict[str, str]], reading: Reading) -> Encoded:
        """Encode a conversation that is to be answered.

        Its own system message takes the place of the reading's. Raises `UsageError` for raw
        prompts, which have no form for it, and what `encode` does.
        """
        if reading.raw:
            why = _why_no_template(reading)
            raise UsageError(f"messages have no place here: {why}", hint="write a prompt instead")
        asked = list(messages)
        if reading.system is not None and asked[0].get("role") != "system":
            asked.insert(0, {"role": "system", "content": reading.system})
        try:
            if self.has_template:
                return self._chat(asked, reading)
            _refuse_chat_settings(replace(reading, system=None))
            ids = self.encode_text(transcript(asked), allow_special=reading.allow_special)
            return Encoded(ids, is_answer=True, stop_strings=STOP_STRINGS)
        except (UnicodeEncodeError, TypeError) as error:
            raise DataError("the messages are not valid Unicode text") from error

    def encode_text(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Encode text as it is; see `encode`."""
        ids = self._tokenizer.encode(text, split_special_tokens=not allow_special, verbose=False)
        if ids:
            return [int(token_id) for token_id in ids]
        for token_id in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token_id is not None:
                return [int(token_id)]
        raise ModelUnsupported(
            "the model's tokenizer has no token to begin an empty prompt with",
            hint="give a prompt of at least one character",
        )

    def encode_continuation(self, prompt: str, prompt_ids: list[int], text: str) -> list[int]:
        """Ids of `text` behind a prompt whose ids are kept.

        Where the joined text begins with them, its rest: the most natural tokens, and the only
        right ones for tokenizers that put a space before any text. Else `text` by itself, behind a
        line end where that can be told apart.
        """
        line_end = self._plain("\n")
        joined = self._plain(prompt + text, add_special_tokens=True)
        behind_line_end = self._plain("\n" + text)
        for ids, before in ((joined, prompt_ids), (behind_line_end, line_end)):
            if ids[: len(before)] == before and len(ids) > len(before):
                return ids[len(before) :]
        return self._plain(text)

    def _plain(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        encode = self._tokenizer.encode
        return list(
            encode(
                text,
                add_special_tokens=add_special_tokens,
                split_special_tokens=True,
                verbose=False,
            )
        )

    def _chat(self, messages: Sequence[dict[str, str]], reading: Reading) -> Encoded:
        from jinja2.exceptions import TemplateError

        template = chosen_template(self._tokenizer, reading.chat_template)
        render = partial(self._tokenizer.apply_chat_template, chat_template=template)
        try:
            ids = render(
                messages,
                add_generation_prompt=True,
                return_dict=False,
                sanitize_control_tokens=not reading.allow_special,
            )
            rendered = render(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            hint = f"use {mention('raw', True)}"
            if reading.system is not None:
                hint = f"drop {mention('system')}, or {hint}"
            raise ModelUnsupported(
                f"the model's chat template refuses the conversation: {error}", hint=hint
            ) from error
        return Encoded([int(token_id) for token_id in ids], rendered, is_answer=True)


def _refuse_chat_settings(reading: Reading) -> None:
    """Refuse what has no effect on a prompt that goes through no template."""
    for what, given, name in (
        ("a system message", reading.system, "system"),
        ("the name of a chat template", reading.chat_template, "chat_template"),
    ):
        if given is not None:
            why = _why_no_template(reading)
            raise UsageError(f"{what} cannot be used: {why}", hint=f"drop {mention(name)}")


def _why_no_template(reading: Reading) -> str:
    return "raw leaves the template out" if reading.raw else "the model has no template"
