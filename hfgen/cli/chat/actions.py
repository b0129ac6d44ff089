"""What the commands of the dialogue do on the screen."""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hfgen.atomic import rename_new, write_whole
from hfgen.cli.chat.keys import keys_wait
from hfgen.cli.chat.parameters import assign
from hfgen.cli.chat.session import beginning
from hfgen.cli.program.editor import edited_text
from hfgen.cli.program.printable import one_line
from hfgen.dialogue import saved, store
from hfgen.dialogue.certainty import least_certain
from hfgen.dialogue.commands import Call, help_text
from hfgen.dialogue.conversation import Conversation
from hfgen.errors import DataError, OutputError, OutputExists, UsageError
from hfgen.generation.options.specs import MAX_SEED

if TYPE_CHECKING:
    from hfgen.cli.chat.screen import Screen

_LEAST_CERTAIN = 5
_LONGEST_SHOWN = 60
_OWNER_ONLY = 0o600
# A file, in quotes where its name has spaces, and what follows.
_FILE = re.compile(r"""(?:'([^']+)'|"([^"]+)"|(\S+))\s*(.*)""", re.DOTALL)


class End(Exception):
    """The user ends the dialogue."""


class Actions:
    """Does commands."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def do(self, call: Call) -> None:
        """Do a command. Raises `HfgenError` for what cannot be done, `End` at the end."""
        getattr(self, f"_{call.command.name}")(call.argument)

    def _say(self, text: str) -> None:
        self._screen.console.report(text)

    def _note(self, text: str) -> None:
        self._screen.console.aside(text + "\n")

    # The dialogue -----------------------------------------------------------------------------

    def _help(self, argument: str) -> None:
        self._say(help_text())

    def _bye(self, argument: str) -> None:
        raise End

    def _retry(self, argument: str) -> None:
        seed = None
        if argument:
            found = re.fullmatch(r"(?:--seed[ =])?\s*(\d{1,16})", argument)
            if not found or int(found[1]) > MAX_SEED:
                raise UsageError(f"/retry {argument}: not a seed", hint="as in /retry --seed 7")
            seed = int(found[1])
        chat = self._screen.chat
        self._screen.answer(lambda: chat.retry(seed=seed))

    def _undo(self, argument: str) -> None:
        text = self._screen.chat.undo()
        if text is None:
            raise UsageError("there is no message to take back", hint="send one first")
        self._screen.draft = text
        self._note("(taken back; /branch has it)")

    def _edit(self, argument: str) -> None:
        """`/edit [N] [assistant]`: the last of their messages, or the N-th from the end."""
        found = re.fullmatch(r"(?:-?(\d+))?\s*(user|assistant)?", argument)
        if not found:
            raise UsageError(
                f"/edit {argument}: not a message", hint="as in /edit, /edit -2, /edit -1 assistant"
            )
        role = found[2] or "user"
        chat = self._screen.chat
        turns = chat.conversation.messages
        places = [place for place, turn in enumerate(turns) if turn.role == role]
        number = int(found[1] or 1)
        if not 1 <= number <= len(places):
            whose = "of yours" if role == "user" else "of the assistant"
            raise UsageError(f"there is no such message {whose}", hint="/edit changes the last one")
        place = places[-number]
        text = edited_text(turns[place].content)
        if text is None or not text.strip() or text == turns[place].content:
            self._note("(nothing changed)")
            return
        chat.edit(place, text)
        if role == "user":
            self._note(f">>> {text}")
            self._screen.answer(chat.answer)
        else:
            self._screen.recall()

    def _branch(self, argument: str) -> None:
        conversation = self._screen.chat.conversation
        if not argument:
            for number, way in enumerate(conversation.branches, 1):
                last = one_line(" ".join(way[-1].content.split()))[:_LONGEST_SHOWN]
                self._say(f"{number:>3}  {len(way)} messages, the last: {last}")
            if not conversation.branches:
                self._note("(no other ways were left)")
            return
        if not argument.isdecimal() or not 1 <= int(argument) <= len(conversation.branches):
            raise UsageError(f"there is no branch {argument}", hint="/branch lists them")
        conversation.switch(int(argument) - 1)
        self._screen.recall()

    def _clear(self, argument: str) -> None:
        screen = self._screen
        conversation = Conversation()
        conversation.set_system(screen.chat.conversation.system)
        self._begin(conversation)
        self._note("(a new conversation)")

    def _begin(self, conversation: Conversation, argument: str | None = None) -> None:
        """Go on with another conversation: a new one, or the saved one of that name."""
        screen = self._screen
        start = None if argument is None else beginning(argument)
        journal = screen.session.journal
        if start is not None and journal is not None and start.path == journal.path:
            raise UsageError("this conversation is open", hint="/list shows the others")
        if start is not None:
            conversation = start.held.conversation
        chat = screen.session.chat(screen.lm, conversation)
        if screen.session.saves:
            screen.session.keep(chat, start)
        screen.change_chat(chat, keeps_options=True)

    # What the model sees ----------------------------------------------------------------------

    def _read(self, argument: str) -> None:
        found = _FILE.match(argument)
        if found is None:
            raise UsageError("/read needs a file", hint="/read FILE, or /read FILE and a question")
        path = Path(next(filter(None, found.group(1, 2, 3)))).expanduser()
        try:
            text = path.read_text(encoding="utf-8").strip("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not valid UTF-8"
            raise DataError(f"cannot read {path}: {reason}", hint="check the name") from error
        if rest := found[4]:
            self._screen.answer(lambda: self._screen.chat.stream(f"{text}\n\n{rest}"))
        else:
            self._screen.attached = text
            self._note(f"({len(text):,} characters of {path} go before the next message)")

    def _system(self, argument: str) -> None:
        conversation = self._screen.chat.conversation
        if argument:
            conversation.set_system(None if argument == "-" else argument)
        self._say(f"system: {conversation.system or '(none)'}")

    def _tokens(self, argument: str) -> None:
        chat = self._screen.chat
        used, window = chat.tokens
        text = f"{used:,} tokens"
        if window is not None:
            text = f"{used:,} of {window:,} tokens ({used / window:.0%} of the context window)"
        if chat.left_out:
            text += f"; the model no longer sees the oldest messages ({chat.left_out})"
        self._say(text)

    def _model(self, argument: str) -> None:
        screen = self._screen
        if not argument:
            self._say(screen.lm.name)
            return
        session = screen.session
        before = session.which
        session.which = dataclasses.replace(before, name=argument)
        try:
            with keys_wait(), screen.console.isolated():
                lm = session.load()
        except BaseException:
            session.which = before
            raise
        screen.change_model(lm)
        self._note(f"(now {lm.name})")

    # Parameters -------------------------------------------------------------------------------

    def _set(self, argument: str) -> None:
        chat = self._screen.chat
        assigned = re.match(r"(?:parameter )?system\s+(.+)", argument, re.DOTALL)
        if assigned:
            self._system(assigned[1])
            return
        chat.options, field = assign(chat.options, argument.removeprefix("parameter "))
        self._screen.ask_for_alternatives()
        self._say(f"{field}: {chat.options.given().get(field, 'default')}")

    def _show(self, argument: str) -> None:
        chat = self._screen.chat
        given = {n: v for n, v in chat.options.given().items() if n != "logprobs"}
        rows = [("model", repr(self._screen.lm).strip("<>").removeprefix("LanguageModel "))]
        rows += [(name, str(value)) for name, value in given.items()]
        rows.append(("system", chat.conversation.system or "(none)"))
        journal = self._screen.session.journal
        rows.append(("saved", "no" if journal is None else str(journal.path)))
        width = max(len(name) for name, _ in rows)
        self._say("\n".join(f"{name + ':':<{width + 1}} {one_line(value)}" for name, value in rows))

    def _logprobs(self, argument: str) -> None:
        if argument not in ("on", "off"):
            raise UsageError(f"/logprobs {argument}: must be on or off", hint="/logprobs on")
        self._screen.view.has_colours = argument == "on"
        self._note(f"(token colours are {argument})")

    def _why(self, argument: str) -> None:
        record = self._screen.chat.last
        if record is None or not record.logprobs:
            raise UsageError("there is no answer to look into", hint="send a message first")
        self._say("\n".join(map(one_line, least_certain(record.logprobs, _LEAST_CERTAIN))))

    # Files ------------------------------------------------------------------------------------

    def _copy(self, argument: str) -> None:
        turns = self._screen.chat.conversation.messages
        last = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
        if last is None:
            raise UsageError("there is no answer to copy", hint="send a message first")
        data = base64.b64encode(last.content.encode("utf-8", "replace")).decode()
        self._screen.console.show(f"\x1b]52;c;{data}\x07")
        self._note("(copied, if the terminal allows it: OSC 52)")

    def _save(self, argument: str) -> None:
        screen = self._screen
        if not argument:
            if screen.session.journal is None:
                screen.session.saves = True
                screen.session.keep(screen.chat)
                screen.chat.conversation.on_change()
            assert screen.session.journal is not None
            self._say(f"saved in {screen.session.journal.path}")
            return
        path = Path(argument).expanduser()
        if path.exists():
            raise OutputExists(f"{path} already exists", hint="name another file")
        facts = {"id": path.stem, "model": screen.lm.name, "created": store.now()}
        aside = path.with_name(f".{path.name}.tmp")
        try:
            write_whole(aside, saved.to_bytes(screen.chat.conversation, facts), mode=_OWNER_ONLY)
            rename_new(aside, path)
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}", hint="name another file"
            ) from error
        self._say(f"saved in {path}")

    def _load(self, argument: str) -> None:
        if not argument:
            raise UsageError("/load needs a conversation", hint="/list shows them")
        self._begin(Conversation(), argument)
        self._screen.recall()

    def _list(self, argument: str) -> None:
        found = list(store.entries())
        for entry in found:
            first = one_line(entry.problem or entry.first)[:_LONGEST_SHOWN]
            self._say(f"{entry.id}  {entry.messages:>4}  {first}")
        if not found:
            self._note("(none)")
