"""The dialogue on a terminal: messages and commands in, answers out, until the user ends it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator

from hfgen.cli.chat.actions import Actions, End
from hfgen.cli.chat.answers import AnswerView, cut_notice
from hfgen.cli.chat.editor import Editor
from hfgen.cli.chat.keys import keys_wait
from hfgen.cli.chat.session import Session
from hfgen.cli.chat.spelling import ChatSpelling
from hfgen.dialogue.chat import Chat
from hfgen.dialogue.commands import parse
from hfgen.errors import HfgenError
from hfgen.generation.records import Piece
from hfgen.language_model import LanguageModel

_ALTERNATIVES = 4


def talk(session: Session, *, has_markdown: bool) -> None:
    """Hold a dialogue until the user ends it."""
    session.prepare()
    with session.saving():
        with keys_wait(), session.isolated():
            lm = session.load()
            chat = session.open(lm)
        Screen(session, lm, chat, has_markdown=has_markdown).run()


class Screen:
    """A dialogue on a terminal."""

    def __init__(
        self, session: Session, lm: LanguageModel, chat: Chat, *, has_markdown: bool
    ) -> None:
        self.session = session
        self.console = session.console
        self.lm = lm
        self.chat = chat
        self.view = AnswerView(self.console, has_markdown=has_markdown)
        self.view.has_colours = session.options.logprobs is not None
        self.draft = ""
        """What the next message begins with."""
        self.attached = ""
        """A file that stands before the next message."""
        self._editor = Editor(lm.name, saves=session.saves)
        self._actions = Actions(self)
        self.ask_for_alternatives()

    def run(self) -> None:
        """Read and answer until the end."""
        self.console.aside(f"{self.lm.name}: /help lists the commands, Ctrl-D ends\n")
        self.recall()
        while True:
            draft, self.draft = self.draft, ""
            try:
                text = self._editor.read(draft)
            except KeyboardInterrupt:
                continue
            except EOFError:
                break
            try:
                self._take(text)
            except End:
                break
            except KeyboardInterrupt:
                self.console.aside("(interrupted)\n")
            except HfgenError as error:
                self._explain(error)
        self._say_goodbye()

    def change_model(self, lm: LanguageModel) -> None:
        """Go on with another model."""
        self.lm = lm
        self._editor = Editor(lm.name, saves=self.session.saves)
        self.change_chat(self.session.chat(lm, self.chat.conversation), keeps_options=True)

    def change_chat(self, chat: Chat, *, keeps_options: bool) -> None:
        """Go on with another chat."""
        if keeps_options:
            chat.options = self.chat.options
        self.chat = chat
        self.ask_for_alternatives()

    def recall(self) -> None:
        """Show the last turns of a conversation that goes on."""
        turns = self.chat.conversation.messages
        place = self.chat.conversation.last_question
        if place is None:
            return
        if place > 1:
            self.console.aside(f"… {place} earlier messages\n")
        self.console.aside(f">>> {turns[place].content}\n")
        for turn in turns[place + 1 :]:
            self.view.whole(turn.content)
        if turns[-1].role == "user":
            self.console.aside("(this message has no answer yet: /retry)\n")

    def answer(self, begin: Callable[[], Generator[Piece, None, None]]) -> None:
        """Show the answer that `begin` begins."""
        with keys_wait(), self.console.isolated():
            try:
                is_whole = self.view.show(begin())
            except KeyboardInterrupt:  # the second one, in a long step
                is_whole = False
        record = self.chat.last
        if not is_whole:
            self.console.aside("(stopped; what was said is kept)\n")
        elif record is not None and (notice := cut_notice(record, self.lm.window)):
            self.console.notice(notice)
        self.console.write("\n")

    def _take(self, text: str) -> None:
        """Do what was typed."""
        if (call := parse(text)) is not None:
            self._actions.do(call)
            return
        if not text.strip():
            return
        whole = f"{self.attached}\n\n{text}" if self.attached else text
        self.attached = ""
        try:
            self.answer(lambda: self.chat.stream(whole))
        except HfgenError:
            if self.chat.messages and self.chat.messages[-1]["role"] == "user":
                self.chat.undo()
            self.draft = text
            raise

    def ask_for_alternatives(self) -> None:
        """Have answers record what else their tokens might have been, for /why and colours."""
        options = self.chat.options
        is_possible = (options.num_beams or 1) == 1 and not options.is_assisted
        if options.logprobs is None and is_possible:
            self.chat.options = dataclasses.replace(options, logprobs=_ALTERNATIVES)

    def _explain(self, error: HfgenError) -> None:
        error.spell(ChatSpelling())
        self.console.error(error.message, error.hint or "/help lists the commands")

    def _say_goodbye(self) -> None:
        journal = self.session.journal
        if journal is not None and not journal.is_empty:
            self.console.aside(f"saved as {journal.path.stem}; hfgen chat -c goes on\n")
