"""`Chat`: a dialogue with a model, turn by turn, on one scheduler.

The scheduler keeps the keys and values of the newest texts, so that a turn computes only what is
new, and a turn that was taken back or edited what comes after it. Answer i of a chat is generated
with seed + i, retries included; `lm.generate` gives the same text for the same messages and seed.

When the context window has no room for an answer, the oldest turns are left out, the system message
stays, and the caller hears of it; `overflow` chooses otherwise, as everywhere.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Generator
from typing import Any

from hfgen.dialogue.conversation import Conversation, Message
from hfgen.errors import ContextOverflow, UsageError
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.options.specs import MAX_SEED
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Piece, Prompt, Record
from hfgen.generation.results import TextInProgress
from hfgen.generation.scheduler import Failed, Scheduler
from hfgen.mentions import mention

# Texts whose keys and values stay: the conversation, and the way that it left last.
_KEPT = 2
# The part of the window that is kept free for an answer of open length.
_ANSWER_PART = 4
_FEWEST_TOKENS = 200


class Chat:
    """A dialogue; made by `LanguageModel.chat`, which see."""

    def __init__(
        self,
        lm: Any,
        conversation: Conversation,
        options: GenerationOptions,
        reading: Reading,
        *,
        notify: Callable[[str], None] = lambda text: None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """`notify` hears one line when turns are left out; `progress` is that of `stream`."""
        self.conversation = conversation
        """All turns, and the branches that were left."""
        self.options = options
        """May be replaced between turns."""
        self.last: Record | None = None
        """Of the newest answer; None where it was stopped."""
        self._lm = lm
        self._reading = reading
        self._notify = notify
        self._seed = secrets.randbits(32) if options.seed is None else options.seed
        self._scheduler: Scheduler = lm.scheduler(1, kept=_KEPT, progress=progress)
        self._answers = sum(turn.role == "assistant" for turn in conversation.messages)
        self.left_out = 0
        """How many of the oldest turns the model did not see for the newest answer."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns as OpenAI's API has them."""
        return [message.to_dict() for message in self.conversation.messages]

    @property
    def window(self) -> int | None:
        """Most tokens that the model sees; None where there is no limit."""
        window: int | None = self._lm.window
        return window

    @property
    def prefill_tokens(self) -> int:
        """How many tokens of prompts were computed so far."""
        return self._scheduler.statistics.prefill_tokens

    def send(self, text: str, *, seed: int | None = None) -> Record:
        """Say something, and return the answer."""
        *_, last = self.stream(text, seed=seed)
        assert last.record is not None
        return last.record

    def stream(self, text: str, *, seed: int | None = None) -> Generator[Piece, None, None]:
        """Say something, and yield the answer as it becomes certain.

        An answer that is not read to its end is kept as far as it came. Errors are those of
        `LanguageModel.stream`; the user's turn stays, and `answer` tries again.
        """
        self.ask(text)
        return self.answer(seed=seed)

    def ask(self, text: str) -> None:
        """Add the user's turn; `answer` answers it."""
        if not text.strip():
            raise UsageError("the message is empty", hint="write something")
        self.conversation.add(Message("user", text))

    def answer(self, *, seed: int | None = None) -> Generator[Piece, None, None]:
        """Answer the conversation as it stands; see `stream`."""
        if not self.conversation.messages or self.conversation.messages[-1].role == "assistant":
            raise UsageError("there is no message to answer", hint="send one first")
        text = self._fitting(self._options(seed))
        self._answers += 1
        return self._run(text)

    def undo(self) -> str | None:
        """Take back the user's newest turn and its answer; return what the user had said."""
        place = self.conversation.last_question
        if place is None:
            return None
        text = self.conversation.messages[place].content
        self.conversation.cut(place)
        return text

    def retry(self, *, seed: int | None = None) -> Generator[Piece, None, None]:
        """Answer the user's newest turn again; the answer that it had stays as a branch."""
        place = self.conversation.last_question
        if place is None:
            raise UsageError("there is no message to answer again", hint="send one first")
        self._options(seed)  # refused before anything changes
        self.conversation.cut(place + 1)
        return self.answer(seed=seed)

    def edit(self, place: int, text: str) -> None:
        """Change the turn at a place of `messages`, from the end where it is negative.

        The conversation goes on behind it, and as it was it stays as a branch. The user's turn is
        then to be answered.
        """
        turns = self.conversation.messages
        place += len(turns) if place < 0 else 0
        if not 0 <= place < len(turns):
            raise UsageError(f"there is no turn {place} among {len(turns)}", hint="count from 0")
        role = turns[place].role
        if role == "system":
            self.conversation.set_system(text)
        else:
            self.conversation.replace(place, Message(role, text))

    @property
    def tokens(self) -> tuple[int, int | None]:
        """How many tokens of the conversation the model sees, and its window."""
        place = self.conversation.last_question
        if place is None:
            return 0, self._lm.window
        end = len(self.conversation.messages) - place - 1
        asked = self._seen(self.left_out)
        answer = "".join(turn["content"] for turn in asked[len(asked) - end :])
        options = GenerationOptions(overflow="slide", max_new_tokens=1)
        text = self._prepare(asked[: len(asked) - end], options)
        count = len(self._lm.tokenizer.encode(answer, add_special_tokens=False))
        return len(text.request.prompt_ids) + count, self._lm.window

    def _options(self, seed: int | None) -> GenerationOptions:
        if (self.options.num_return_sequences or 1) > 1:
            several = mention("num_return_sequences")
            raise UsageError(f"a chat has one answer, {several} asks for more",
                             hint=f"drop {several}")  # fmt: skip
        if seed is None:
            seed = (self._seed + self._answers) % (MAX_SEED + 1)
        return dataclasses.replace(self.options, seed=seed)

    # Which turns the model sees ---------------------------------------------------------------

    def _seen(self, left_out: int) -> list[dict[str, str]]:
        """The messages without so many of the oldest turns, the system message kept."""
        begin = 0 if self.conversation.system is None else 1
        return [*self.messages[:begin], *self.messages[begin + left_out :]]

    def _fitting(self, given: GenerationOptions) -> TextInProgress:
        """The text to generate, with as many turns as leave room for it.

        When turns have to go, so many go that half the window is free: what the model sees then
        begins alike for some answers, and is not computed again.
        """
        if given.overflow is not None or self._lm.window is None:
            self.left_out = 0
            return self._prepare(self._seen(0), given)
        begin = 0 if self.conversation.system is None else 1
        turns = self.conversation.messages[begin:]
        starts = [place for place, turn in enumerate(turns) if turn.role == "user"]
        least = min(_FEWEST_TOKENS, self._lm.window // _ANSWER_PART)
        least = least if given.max_new_tokens is None else given.max_new_tokens
        for left_out in (0, self.left_out):
            if left_out in (0, *starts) and (text := self._with_room(left_out, given, least)):
                self.left_out = left_out
                return text
        for left_out in starts:
            if text := self._with_room(left_out, given, self._lm.window // 2):
                break
        else:
            text = self._prepare(self._seen(left_out), given)
        if left_out != self.left_out:
            self._tell(left_out)
        self.left_out = left_out
        return text

    def _with_room(
        self, left_out: int, given: GenerationOptions, room: int
    ) -> TextInProgress | None:
        """The text to generate without the oldest turns; None where less than `room` is left."""
        try:
            text = self._prepare(self._seen(left_out), given)
        except ContextOverflow:
            return None
        return text if self._lm.window - len(text.request.prompt_ids) >= room else None

    def _prepare(self, messages: list[dict[str, str]], given: GenerationOptions) -> TextInProgress:
        prompt = Prompt(messages[-1]["content"], messages=tuple(messages), seed=given.seed)
        texts: list[TextInProgress] = self._lm.prepare(prompt, self._answers, given, self._reading)
        return texts[0]

    def _tell(self, left_out: int) -> None:
        self._notify(
            f"the context window of {self._lm.window:,} tokens is full: the model no longer sees "
            f"the oldest messages ({left_out})"
        )

    # The answer -------------------------------------------------------------------------------

    def _run(self, text: TextInProgress) -> Generator[Piece, None, None]:
        """Generate the answer, and add it to the conversation, whatever ends it."""
        index, _ = text.request.key
        said: list[str] = []
        is_whole = False
        self.last = None
        self._scheduler.submit([text])
        try:
            while not is_whole:
                for found in self._scheduler.step():
                    if isinstance(found, Failed):
                        raise found.error
                    said.append(found.text)
                    if found.record is not None:
                        is_whole = True
                        self._finish(found.record)
                    yield found
        finally:
            if not is_whole:
                self._stop(index, text, "".join(said))

    def _finish(self, record: Record) -> None:
        self.last = record
        facts: dict[str, Any] = {
            "model": record.model,
            "seed": record.seed,
            "finish_reason": record.finish_reason,
        }
        if record.thinking is not None:
            facts["thinking"] = record.thinking
        self.conversation.add(Message("assistant", record.completion, facts))

    def _stop(self, index: int, text: TextInProgress, said: str) -> None:
        """Keep what there is of an answer that was stopped."""
        try:
            self._scheduler.cancel(index)
        except RuntimeError:  # a step was interrupted: the engine cannot be used any more
            self._scheduler = self._lm.scheduler(1, kept=_KEPT)
        if said:
            facts = {"model": text.model, "seed": text.request.seed, "finish_reason": "stopped"}
            self.conversation.add(Message("assistant", said, facts))
