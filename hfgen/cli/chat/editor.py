"""The line editor of the dialogue, on prompt_toolkit: imported for a terminal only."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from hfgen.dialogue.commands import completions
from hfgen.dialogue.store import chats_folder
from hfgen.generation.options.options import SPECS

_PROMPT, _MORE = ">>> ", "... "
_QUOTES = '"""'
_OWNER_ONLY = 0o600
_MENU_LINES = 5


class Editor:
    """Reads messages and commands."""

    def __init__(self, model: str, *, saves: bool) -> None:
        """The history is that of the model, on the disk if it `saves`."""
        history: History = _Past(_history_path(model)) if saves else InMemoryHistory()
        self._session: PromptSession[str] = PromptSession(
            [("bold", _PROMPT)],
            history=history,
            multiline=True,
            prompt_continuation=_MORE,
            completer=_Commands(),
            complete_while_typing=Condition(self._is_command),
            key_bindings=_keys(),
            tempfile_suffix=".md",
            enable_open_in_editor=True,
            reserve_space_for_menu=_MENU_LINES,
        )

    def read(self, default: str = "") -> str:
        """Have the user type, beginning with `default`.

        Raises `EOFError` for Ctrl-D and `KeyboardInterrupt` for Ctrl-C.
        """
        text = self._session.prompt(default=default)
        body = text.strip()
        if body.startswith(_QUOTES):
            return body.removeprefix(_QUOTES).removesuffix(_QUOTES).strip("\n")
        return text

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        text = buffer.text.strip()
        is_open = text.startswith(_QUOTES) and (
            len(text) < 2 * len(_QUOTES) or not text.endswith(_QUOTES)
        )
        if is_open:
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-g")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.open_in_editor()

    return keys


class _Commands(Completer):
    """Completes commands, and the names of parameters behind /set."""

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if setting := re.match(r"/set\s+([\w-]*)$", text):
            begun = setting[1].replace("-", "_")
            for name, spec in SPECS.items():
                if name.startswith(begun):
                    yield Completion(name, -len(setting[1]), display_meta=spec.help)
        elif re.match(r"/[a-z]*$", text):
            for name, help in completions(text):
                yield Completion(name, -len(text), display_meta=help)


class _Past(FileHistory):
    """A history that a full disk does not end."""

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError):
            super().store_string(string)


def _history_path(model: str) -> str:
    """The file of a model's history, which only its owner can read."""
    name = re.sub(r"[^\w.-]+", "-", model)[-100:]
    path = Path(chats_folder()).with_name("history") / name
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, _OWNER_ONLY))
    return str(path)
