"""`Session`: a chat on the command line, from its flags to a `Chat` that saves what is said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hfgen.cli.flags import common as flags
from hfgen.cli.program.console import Console
from hfgen.cli.program.failures import Terminated
from hfgen.cli.program.loading import loaded
from hfgen.dialogue import saved, store
from hfgen.dialogue.conversation import Conversation
from hfgen.dialogue.journal import Journal
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.prompts.encode import Reading
from hfgen.models.checkpoint.load_options import LoadOptions

if TYPE_CHECKING:
    from hfgen.dialogue.chat import Chat
    from hfgen.language_model import LanguageModel

# Prompts of fewer tokens are read at once.
_LONG_PROMPT = 256


@dataclass(frozen=True)
class Start:
    """A conversation that is to go on."""

    path: Path
    held: saved.Saved
    is_own: bool
    """Whether it is one that hfgen saved, which goes on in its file; another one is left alone."""


def beginning(name: str) -> Start:
    """The saved conversation of that id, or the one in a file. Raises `HfgenError`."""
    file = Path(name).expanduser()
    path = file if file.is_file() else store.find(name)
    is_own = path.resolve().parent == store.chats_folder().resolve()
    return Start(path, saved.read(path), is_own=is_own)


@dataclass
class Session:
    """A checked command line, ready to talk."""

    console: Console
    which: LoadOptions
    options: GenerationOptions
    reading: Reading
    start: Start | None = None
    saves: bool = True
    journal: Journal | None = None
    """Where the conversation is saved."""

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Keep libraries quiet, and have errors name flags."""
        typed = flags.typed_options(self.options)
        with self.console.isolated(), flags.in_words_of_flags(typed):
            yield

    def load(self) -> LanguageModel:
        """Load the model; say what the user should know of it."""
        console = self.console
        lm = loaded(console, self.which)
        lm.check_reading(self.reading)
        if not lm.is_chat:
            console.notice(
                f"{lm.name} is no chat model: it gets the dialogue as a transcript of User and "
                "Assistant, and continues it"
            )
        return lm

    def open(self, lm: LanguageModel) -> Chat:
        """Begin the dialogue, or go on with the one that was named."""
        conversation = Conversation()
        if self.start is not None:
            conversation = self.start.held.conversation
        chat = self.chat(lm, conversation)
        self._follow(chat)
        if self.reading.system is not None:
            conversation.set_system(self.reading.system)
        return chat

    def chat(self, lm: LanguageModel, conversation: Conversation) -> Chat:
        """A chat of the conversation with a model."""
        from hfgen.dialogue.chat import Chat

        return Chat(
            lm, conversation, self.options, self.reading,
            notify=self.console.notice, progress=self._show_prefill,
        )  # fmt: skip

    def prepare(self) -> None:
        """Take the conversation that goes on, before a model is loaded for it."""
        if self.saves:
            self.journal = self._journal(self.start)

    def keep(self, chat: Chat, start: Start | None = None) -> None:
        """Save the conversation of a chat from now on; `start` is where it comes from."""
        journal = self._journal(start)
        self.close()
        self.journal = journal
        self._follow(chat)

    def _follow(self, chat: Chat) -> None:
        conversation, journal = chat.conversation, self.journal
        if journal is not None:
            conversation.on_change = lambda: journal.save(conversation)

    def _journal(self, start: Start | None) -> Journal:
        """The journal of a new conversation, or of one that goes on, in its file or another."""
        is_own = start is not None and start.is_own
        path = start.path if start is not None and is_own else store.new_path()
        facts = {"id": path.stem, "model": self.which.name, "created": store.now()}
        notice = None
        if start is not None and is_own:
            facts |= {name: value for name, value in start.held.facts.items() if name != "model"}
        journal = Journal(path, facts, notify=self.console.notice)
        if start is not None and is_own:
            notice = journal.resume(start.held)
        elif start is not None and start.held.is_torn:
            notice = f"the end of {start.path} is missing: what is whole was read"
        if notice:
            self.console.notice(notice)
        return journal

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Let others go on with the conversation at the end; say so after an interruption."""
        try:
            yield
        except (KeyboardInterrupt, Terminated) as error:
            is_kept = self.journal is not None and not self.journal.is_empty
            said = "what was said is saved: hfgen chat -c goes on"
            error.add_note(said if is_kept else "nothing was saved")
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Let others go on with the conversation."""
        if self.journal is not None:
            self.journal.close()

    def _show_prefill(self, done: int, total: int) -> None:
        if done < total and total >= _LONG_PROMPT:
            self.console.status(f"reading (prefill): {done:,} of {total:,} tokens")
