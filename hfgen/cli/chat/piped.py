"""A dialogue through a pipe: each line is a message, and each answer goes to standard output."""

from __future__ import annotations

import contextlib
import time

from hfgen.cli.chat.session import Session
from hfgen.cli.io.cuts import Cuts
from hfgen.cli.io.inputs import InputChoice, Prompts
from hfgen.cli.io.outputs import OutputChoice
from hfgen.cli.io.sinks import OutputSink
from hfgen.errors import HfgenError
from hfgen.generation.records import Pending

_POLL_S = 0.005


def answer_lines(session: Session, format: str) -> None:
    """Answer every line of standard input in turn; empty ones are skipped and counted."""
    console = session.console
    messages = Prompts(InputChoice(["-"], has_rows=True))
    form = OutputChoice(format).formatted(OutputSink(console), is_chat=True)
    session.prepare()
    with session.saving(), session.isolated():
        chat = session.open(session.load())
        number = 0
        try:
            for message in messages:
                if isinstance(message, Pending):
                    time.sleep(_POLL_S)
                    continue
                number += 1
                if not message.strip():
                    messages.skipped += 1
                    continue
                cuts = Cuts(chat.options, chat.window)
                with contextlib.closing(chat.stream(message)) as pieces:
                    for piece in pieces:
                        form.show(piece)
                        if piece.record is not None:
                            form.finish(piece.record)
                            cuts.add(piece.record)
                if cuts.notice is not None:
                    console.detail(cuts.notice)
            messages.finish()
        except BaseException as error:
            form.end(is_complete=False)
            if isinstance(error, HfgenError):
                error.add_context(f"message {number}: ")
            raise
        if messages.skipped:
            console.notice(f"empty messages skipped: {messages.skipped}")
