"""From a prompt's text to token ids, through the chat template where the model has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hfgen.errors import DataError, ModelUnsupported, UsageError
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
    """The system message of a chat model."""
    chat_template: str | None = None
    """Which of a chat model's templates, by name; None is its default."""


@dataclass(frozen=True)
class Encoded:
    """A prompt as the model gets it."""

    ids: list[int]
    rendered: str | None = None
    """What the chat template wrote; None where none was used."""


class PromptEncoder:
    """Encodes prompts for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.has_template = bool(getattr(tokenizer, "chat_template", None))

    def check(self, reading: Reading) -> None:
        """Raise `UsageError` for a reading that no prompt can have with this model."""
        if reading.raw or not self.has_template:
            _refuse_chat_settings(reading)
        else:
            chosen_template(self._tokenizer, reading.chat_template)

    def encode(self, text: str, reading: Reading) -> Encoded:
        """Encode a prompt: as a user's message for a chat model, as text for a base model.

        Special and control tokens written in it are plain text unless allowed. An empty text
        becomes the token that begins texts. Raises `ModelUnsupported` where there is none,
        `DataError` for text that is no valid Unicode, `UsageError` for a system message or the name
        of a template that the model has no place for, and where a template has to be named.
        """
        try:
            if self.has_template and not reading.raw:
                return self._chat([{"role": "user", "content": text}], reading)
            _refuse_chat_settings(reading)
            return Encoded(self.encode_text(text, allow_special=reading.allow_special))
        except (UnicodeEncodeError, TypeError) as error:
            raise DataError("the prompt is not valid Unicode text") from error

    def encode_messages(self, messages: Sequence[dict[str, str]], reading: Reading) -> Encoded:
        """Encode a conversation for a chat model; its own system message takes the place of ours.

        Raises `UsageError` where there is no template, and what `encode` does.
        """
        if reading.raw or not self.has_template:
            why = _why_no_template(reading)
            raise UsageError(f"messages have no place here: {why}", hint="write a prompt instead")
        try:
            return self._chat(messages, reading)
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

    def _chat(self, asked: Sequence[dict[str, str]], reading: Reading) -> Encoded:
        from jinja2.exceptions import TemplateError

        messages = list(asked)
        if reading.system is not None and messages[0].get("role") != "system":
            messages.insert(0, {"role": "system", "content": reading.system})
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
        return Encoded([int(token_id) for token_id in ids], rendered)


def _refuse_chat_settings(reading: Reading) -> None:
    """Refuse what has no effect on a prompt that goes through no template."""
    for what, given, name in (
        ("a system message", reading.system, "system"),
        ("the name of a chat template", reading.chat_template, "chat_template"),
    ):
        if given is not None:
            why = _why_no_template(reading)
            raise UsageError(f"{what} has no place here: {why}", hint=f"drop {mention(name)}")


def _why_no_template(reading: Reading) -> str:
    return "raw leaves the template out" if reading.raw else "the model has no template"
