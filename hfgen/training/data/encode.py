"""From an `Example` to token ids, and which of them are learned.

What the model is trained on is what `hfgen generate` will feed it: the ids before an answer are
those that `hfgen.generation.prompts.encode.PromptEncoder` makes of the same prompt.

- A text: its ids and EOS, all learned.
- Prompt and completion, for a model without a chat template: the prompt's ids as they are for the
  prompt alone, the completion's, EOS; the completion and EOS are learned.
- Messages, and prompts for a model with a chat template: the template's ids. Each of the
  assistant's turns is learned but those of weight 0, the token that ends it included. The ids
  before a turn are those of the conversation up to it, rendered for generation. Where the template
  does not allow one row to be right for all turns (it drops earlier reasoning, or ends no turn by a
  token that stops generation, so that EOS is put there), the conversation becomes several rows, a
  turn learned in each.

With `train_on_prompt` all the rest is learned, too. The first id of a row never is: nothing
precedes it that it could be predicted from. Special tokens written in the data are plain text.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any

from hfgen.errors import ModelUnsupported
from hfgen.generation.prompts.encode import PromptEncoder
from hfgen.models.checkpoint.chat_template import chosen_template
from hfgen.training.data.chat_template import plain_template
from hfgen.training.data.examples import Example

_SEPARATING_SPACE = re.compile(r"^ (?=\S)")

Messages = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """Ids of one row, and for each whether it is learned."""

    ids: Sequence[int]
    is_learned: MutableSequence[bool] | bytearray
    is_text: bool = False
    """Whether it may be cut anywhere, as a text may; a prompt belongs to its answer."""
    place: str = ""
    """Where its row stands, for messages."""

    def __post_init__(self) -> None:
        if self.is_learned:
            self.is_learned[0] = False

    def compact(self) -> EncodedExample:
        """The same row in 5 bytes a token instead of 44, without its place."""
        ids, is_learned = array("i", self.ids), bytearray(self.is_learned)
        return EncodedExample(ids, is_learned, self.is_text)

    @property
    def learned_tokens(self) -> int:
        """How many of the ids are learned."""
        return sum(self.is_learned)


class ExampleEncoder:
    """Encodes examples for one tokenizer.

    `stop_ids` are the ids that end a text when the model generates (its `eos_token_id`s); without
    them the tokenizer's EOS. Raises `ModelUnsupported` where there is none.
    """

    def __init__(
        self, tokenizer: Any, *, stop_ids: Sequence[int] = (), train_on_prompt: bool = False
    ) -> None:
        own = tokenizer.eos_token_id
        stops = list(stop_ids) or ([] if own is None else [int(own)])
        if not stops:
            raise ModelUnsupported(
                "the model's tokenizer has no end-of-text token, so answers could not learn to end",
                hint="choose another model",
            )
        self.stop_ids = frozenset(stops)
        self.eos_id: int = int(own) if own in stops else stops[0]
        self.train_on_prompt = train_on_prompt
        self._tokenizer = tokenizer
        self._prompts = PromptEncoder(tokenizer)
        self.has_own_template = self._prompts.has_template
        self._template: Any = None if self.has_own_template else plain_template(tokenizer)

    @property
    def chat_template(self) -> Any:
        """The template of chat rows: to be saved with a model that has none of its own."""
        return self._tokenizer.chat_template if self.has_own_template else self._template

    def encode(self, example: Example) -> list[EncodedExample]:
        """The rows of an example, mostly one.

        Raises `DataError` with file and line for one that the chat template refuses,
        `ModelUnsupported` for a template that does not put the answer behind its own prompt, and
        `UsageError` where the model has several and none of them is the default.
        """
        if example.text is not None:
            ids = self._closed(self._prompts.encode_text(example.text))
            return [self._row(example, ids, [True] * len(ids), is_text=True)]
        messages = example.messages
        if messages is None:
            prompt, completion = example.prompt or "", example.completion or ""
            if not self.has_own_template:
                return [self._pair(example, prompt, completion)]
            # The space that keeps a joined completion apart; a template has its own ways.
            completion = _SEPARATING_SPACE.sub("", completion)
            messages = (("user", prompt), ("assistant", completion))
        return self._conversation(example, messages)

    def _row(
        self, example: Example, ids: list[int], is_learned: list[bool], *, is_text: bool = False
    ) -> EncodedExample:
        return EncodedExample(ids, is_learned, is_text, example.place)

    def _closed(self, ids: list[int]) -> list[int]:
        return ids if ids[-1] in self.stop_ids else [*ids, self.eos_id]

    def _pair(self, example: Example, prompt: str, completion: str) -> EncodedExample:
        prompt_ids = self._prompts.encode_text(prompt)
        answer_ids = self._closed(self._prompts.encode_continuation(prompt, prompt_ids, completion))
        is_learned = [self.train_on_prompt] * len(prompt_ids) + [True] * len(answer_ids)
        return self._row(example, prompt_ids + answer_ids, is_learned)

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

    def _conversation(self, example: Example, messages: Messages) -> list[EncodedExample]:
        rows: list[EncodedExample] = []
        ids: list[int] = []
        is_learned: list[bool] = []
        for index, (role, _) in enumerate(messages):
            if role != "assistant":
                continue
            prompt_ids = self._ids(example, messages[:index], is_prompt=True)
            if ids and prompt_ids[: len(ids)] != ids:
                rows.append(self._row(example, ids, is_learned))
                ids, is_learned = [], []
            answer_ids = self._answer(example, messages[: index + 1], prompt_ids)
            is_learned = is_learned + [self.train_on_prompt] * (len(prompt_ids) - len(ids))
            is_learned = is_learned + [index not in example.unlearned] * len(answer_ids)
            ids = prompt_ids + answer_ids
        return [*rows, self._row(example, ids, is_learned)]

    def _answer(self, example: Example, messages: Messages, prompt_ids: list[int]) -> list[int]:
        """Ids of the last turn, up to and with the token that ends it."""
        whole = self._ids(example, messages, is_prompt=False)
        if whole[: len(prompt_ids)] == prompt_ids:
            ids = whole[len(prompt_ids) :]
        else:
            ids = self._answer_by_text(example, messages)
        ends = [place for place, token_id in enumerate(ids) if token_id in self.stop_ids]
        return ids[: ends[-1] + 1] if ends else [*ids, self.eos_id]

    def _answer_by_text(self, example: Example, messages: Messages) -> list[int]:
        """As `_answer`, where a token reaches over the boundary: what the template wrote, alone."""
        before = self._text(example, messages[:-1], is_prompt=True)
        whole = self._text(example, messages, is_prompt=False)
        if not whole.startswith(before):
            raise ModelUnsupported(
                "the model's chat template does not write an answer behind the prompt for one",
                hint="choose a model without such a template",
            )
        written, content = whole[len(before) :], messages[-1][1]
        encode = self._tokenizer.encode
        if self._plain(content) == list(encode(content, add_special_tokens=False, verbose=False)):
            return list(encode(written, add_special_tokens=False, verbose=False))
        content = content if content in written else content.strip()
        head, found, tail = written.partition(content)
        if not found:
            raise example.error("the answer holds special tokens, and the template changes it")
        ids = self._plain(found)
        if head:
            ids = list(encode(head, add_special_tokens=False, verbose=False)) + ids
        return ids + list(encode(tail, add_special_tokens=False, verbose=False))

    def _ids(self, example: Example, messages: Messages, *, is_prompt: bool) -> list[int]:
        ids = self._render(
            example,
            messages,
            is_prompt,
            return_dict=False,
            sanitize_control_tokens=True,
            tokenizer_kwargs={"verbose": False},
        )
        return [int(token_id) for token_id in ids]

    def _text(self, example: Example, messages: Messages, *, is_prompt: bool) -> str:
        return str(self._render(example, messages, is_prompt, tokenize=False))

    def _render(
        self, example: Example, messages: Messages, is_prompt: bool, **arguments: Any
    ) -> Any:
        from jinja2.exceptions import TemplateError

        turns = [{"role": role, "content": content} for role, content in messages]
        arguments["chat_template"] = self._template or chosen_template(self._tokenizer)
        try:
            return self._tokenizer.apply_chat_template(
                turns, add_generation_prompt=is_prompt, **arguments
            )
        except TemplateError as error:
            reason = f"the model's chat template refuses the conversation: {error}"
            raise example.error(reason) from error


def spans(tokenizer: Any, encoded: EncodedExample) -> list[tuple[str, bool]]:
    """The row decoded, as runs of (text, is_learned); joined they are its whole text."""
    found: list[tuple[str, bool]] = []
    done = ""
    for place, is_learned in enumerate(encoded.is_learned, 1):
        is_last = place == len(encoded.ids)
        if not is_last and encoded.is_learned[place] == is_learned:
            continue
        text = tokenizer.decode(list(encoded.ids[:place]), clean_up_tokenization_spaces=False)
        # A character may be cut in two by the boundary: it is shown with the second half.
        ready = text if is_last else text.rstrip("\ufffd")
        found.append((ready.removeprefix(done), bool(is_learned)))
        done = ready
    return found
