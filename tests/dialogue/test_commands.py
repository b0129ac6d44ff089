"""The commands of a dialogue, in hfgen's spelling and others'."""

from __future__ import annotations

import pytest

from hfgen.dialogue.certainty import least_certain
from hfgen.dialogue.commands import COMMANDS, completions, help_text, parse
from hfgen.errors import UsageError
from hfgen.generation.records import TokenLogprob


@pytest.mark.parametrize(
    ("typed", "name", "argument"),
    [
        ("/help", "help", ""),
        ("/?", "help", ""),
        ("/exit", "bye", ""),
        ("/QUIT ", "bye", ""),
        ("exit", "bye", ""),
        (" Bye", "bye", ""),
        ("/regen", "retry", ""),
        ("/retry --seed 7", "retry", "--seed 7"),
        ("/new", "clear", ""),
        ("/set parameter temperature 0.5", "set", "parameter temperature 0.5"),
        ("/system You are\nbrief. ", "system", "You are\nbrief."),
        ("/read a b.txt", "read", "a b.txt"),
        ("!clear", "clear", ""),
        ("!set k=v", "set", "k=v"),
        ("!edit", "edit", ""),
    ],
)
def test_what_is_a_command(typed: str, name: str, argument: str) -> None:
    call = parse(typed)
    assert call is not None
    assert (call.command.name, call.argument) == (name, argument)


@pytest.mark.parametrize(
    "typed", ["Hello", "/usr/bin is a folder", " /help", "! important", "!wow", "exit now", "/", ""]
)
def test_what_is_a_message(typed: str) -> None:
    assert parse(typed) is None


@pytest.mark.parametrize(
    ("typed", "near"), [("/tokns", "/tokens"), ("/hlep", "/help"), ("/xyzzy", "/help lists")]
)
def test_an_unknown_command_names_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(UsageError, match="there is no command") as caught:
        parse(typed)
    assert near in str(caught.value.hint)


def test_every_command_is_listed_once_and_can_be_done() -> None:
    from hfgen.cli.chat.actions import Actions

    names = [name for command in COMMANDS for name in (command.name, *command.aliases)]
    assert len(names) == len(set(names))
    for command in COMMANDS:
        assert f"/{command.name}" in help_text()
        assert callable(getattr(Actions, f"_{command.name}"))
    assert completions("/re")[0][0] == "/retry"
    assert ("/bye", "End (also Ctrl-D, exit).") in completions("/qui")


def test_the_least_certain_tokens_have_their_alternatives() -> None:
    tokens = [
        TokenLogprob(1, "The", -0.1, ((1, "The", -0.1), (2, "A", -2.0))),
        TokenLogprob(3, " fox", -3.0, ((4, " dog", -0.7), (3, " fox", -3.0))),
        TokenLogprob(0, "", -0.2, ((0, "", -0.2),)),
    ]
    assert least_certain(tokens, 2) == [
        'The → " fox" 5%, not " dog" 50%',
        "The fox → the end 82%",
    ]
    assert least_certain(tokens, 1) == ['The → " fox" 5%, not " dog" 50%']
