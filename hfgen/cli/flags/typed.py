"""What was typed, in hfgen's own words: other spellings are replaced, slips are refused.

A command line is read here before Typer reads it. Spellings of `hfgen.cli.flags.spellings` become
hfgen's own. What Typer would take for something else without a word (a stray `false` behind a
switch for prompt text, `-output` for a file named `utput`, a flag for another flag's value) is
refused, and an unknown flag is answered with the right one. Nothing is read or loaded.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from hfgen.cli.flags.spellings import ANSWERED_COMMANDS, ANSWERED_FLAGS, COMMANDS, FLAGS
from hfgen.cli.flags.spellings import NAMES_ITS_ARGUMENT as NAMING
from hfgen.errors import UsageError

SCATTERED = "hfgen.cli.flags.typed.scattered"
"""Key of `Typed.scattered` in a context's `meta`."""

_STRAY = ("true", "false", "0", "1")
_LONG_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?|true|false", re.IGNORECASE)
_TEXTS = ("PROMPT", "TEXT")
_LONGEST_SHOWN = 60
_SHELL_FLAGS = ("--install-completion", "--show-completion")


def own_command(arguments: Sequence[str]) -> list[str]:
    """The command line with hfgen's own name of the command.

    Raises `UsageError` for commands of other programs.
    """
    words = list(arguments)
    if words[:1] == ["help"]:
        return [*own_command(words[1:]), "--help"]
    if words == ["version"]:
        return ["--version"]
    if len(words) == 1 and words[0] in _SHELL_FLAGS:
        return [f"{words[0]}={_shell(words[0])}"]
    for length in (2, 1):
        if (own := COMMANDS.get(tuple(words[:length]))) is not None:
            return [*own, *words[length:]]
    if words and (answer := ANSWERED_COMMANDS.get(words[0])) is not None:
        raise UsageError(f"there is no command {words[0]!r}", hint=answer)
    return words


def _shell(flag: str) -> str:
    """The user's shell, by `$SHELL`."""
    name = PurePath(os.environ.get("SHELL", "")).name
    if not name:
        raise UsageError(f"{flag} needs a shell: SHELL is not set", hint=f"hfgen {flag} bash")
    return name


def with_generate(arguments: Sequence[str], commands: Iterable[str]) -> str:
    """The command that was meant by one without a command, or with flags before it."""
    words = list(arguments)
    named = next((word for word in words if word in commands), "generate")
    if named in words:
        words.remove(named)
    return shlex.join(["hfgen", named, *words])


def notice_of_scattered(ctx: Any) -> str | None:
    """What to say of a prompt whose words stand in several places; None where they do not."""
    apart = [text for text in ctx.meta.get(SCATTERED, ()) if text != "-"]
    if not apart:
        return None
    return f"{_shown(shlex.join(apart))} is taken for part of the prompt, not for a flag's value"


@dataclass(frozen=True)
class _Flag:
    """One way to write a parameter of the command."""

    long: str
    is_switch: bool
    opposite: str | None
    """The switch that says the contrary, if there is one."""


@dataclass(frozen=True)
class Typed:
    """A command line in hfgen's own words."""

    arguments: list[str]
    scattered: list[str]
    """Arguments that stand apart from the first ones, behind a flag."""


class CommandLine:
    """The flags of one command, and how they may be typed."""

    def __init__(
        self, command: str, parameters: Sequence[Any], unknown: Callable[[str], str | None]
    ) -> None:
        """`command` is its name, as `models show`; `unknown` may know an option without a flag."""
        self._command = command
        self._unknown = unknown
        self._flags: dict[str, _Flag] = {}
        self._argument = ""
        for parameter in parameters:
            if parameter.param_type_name == "argument":
                self._argument = self._argument or parameter.metavar or parameter.name
                continue
            ways = (parameter.opts, parameter.secondary_opts)
            for own, other in (ways, ways[::-1]):
                opposite = other[-1] if other else None
                for name in own:
                    self._flags[name] = _Flag(max(own, key=len), parameter.is_flag, opposite)

    def read(self, arguments: Sequence[str]) -> Typed:
        """Replace other spellings. Raises `UsageError` for slips and unknown flags."""
        rest = list(arguments)
        own: list[str] = []
        places: list[tuple[int, str]] = []
        while rest:
            word = rest.pop(0)
            if word == "--":
                places += [(len(own) - len(places), text) for text in rest]
                own += [word, *rest]
                break
            if word[:1] == "-" and len(word) > 1:
                name, equals, value = word.partition("=")
                if name not in NAMING.get(self._command, ()):
                    own += self._flag(word, rest)
                elif equals:
                    rest.insert(0, value)
                continue
            self._check_argument(word, is_first=not places)
            places.append((len(own) - len(places), word))
            own.append(word)
        is_one = {place for place, _ in places[:1]}
        return Typed(own, [text for place, text in places if place not in is_one])

    def _flag(self, word: str, rest: list[str]) -> Iterator[str]:
        """A flag in hfgen's own words, with its value, which is taken from `rest`."""
        return self._long(word, rest) if word.startswith("--") else self._short(word, rest)

    def _long(self, word: str, rest: list[str]) -> Iterator[str]:
        name, equals, value = word.partition("=")
        own = self._own(name)
        if own is None:
            raise self._no_such(word, name)
        flag = self._flags[own.partition("=")[0]]
        has_value = "=" in own or flag.is_switch
        if equals and has_value:
            raise self._takes_no_value(name, flag, value)
        yield own + equals + value
        if has_value:
            self._check_stray(name, flag, rest)
        elif not equals:
            yield from self._value(name, flag, rest)

    def _short(self, word: str, rest: list[str]) -> Iterator[str]:
        whole = word.partition("=")[0]
        if len(whole) > 3 and (own := self._own("-" + whole)) is not None:
            raise UsageError(
                f"there is no option {_shown(whole)}", hint=f"did you mean {own.partition('=')[0]}?"
            )
        if whole not in self._flags and whole in ANSWERED_FLAGS and self._answer(whole):
            raise self._no_such(word, whole)
        for place, letter in enumerate(word[1:], start=2):
            flag = self._flags.get(self._own(f"-{letter}") or "")
            if flag is None or word[place : place + 1].isspace():
                raise self._no_such(word, word if flag is None and place == 2 else f"-{letter}")
            if not flag.is_switch:
                is_alias = f"-{letter}" not in self._flags
                glued = word[place:]
                if is_alias:
                    yield from [word[: place - 1]] * (place > 2)
                    word = f"{flag.long}={glued}" if glued else flag.long
                yield word
                if not glued:
                    yield from self._value(f"-{letter}", flag, rest)
                return
            if place == len(word):
                yield word
                self._check_stray(f"-{letter}", flag, rest)

    def _own(self, name: str) -> str | None:
        """The flag that is meant, in hfgen's own spelling, with a value where it brings one."""
        plain = name.replace("_", "-") if name.startswith("--") else name
        for spelling in (name, plain, FLAGS.get(plain, "")):
            if spelling.partition("=")[0] in self._flags:
                return spelling
        return None

    def _value(self, name: str, flag: _Flag, rest: list[str]) -> Iterator[str]:
        """The value of a flag that takes one, from the words behind it."""
        if not rest:
            return
        value = rest.pop(0)
        if value == "--" or (value[:1] == "-" and value.partition("=")[0] in self._flags):
            raise UsageError(
                f"{name} needs a value, and {_shown(value)} is a flag",
                hint=f"if it is the value: {flag.long}={shlex.quote(value)}",
            )
        is_option = "--" + value.replace("_", "-") in self._flags
        if flag.long == "--output" and is_option and rest and _NUMBER.fullmatch(rest[0]):
            right = f"--{value.replace('_', '-')} {rest[0]}"
            raise UsageError(
                f"{name} {value} names an output, and {value} is an option",
                hint=f"write {right}; for an output of that name {name} ./{value}",
            )
        yield value

    def _check_stray(self, name: str, flag: _Flag, rest: Sequence[str]) -> None:
        """Refuse `true`, `false`, `0` and `1` behind a switch, which has no value."""
        if rest and rest[0].casefold() in _STRAY:
            raise self._takes_no_value(name, flag, rest[0], is_apart=True)

    def _takes_no_value(
        self, name: str, flag: _Flag, value: str, *, is_apart: bool = False
    ) -> UsageError:
        if value.casefold() in ("false", "0", "no", "off"):
            right = f"write {flag.opposite}" if flag.opposite else f"leave {name} out"
        else:
            right = f"write {name} alone"
        if is_apart and self._argument:
            what = f"the {self._argument.lower()}" if self._argument in _TEXTS else "an argument"
            right += f"; or, if it is {what}, put -- before it"
        return UsageError(f"{name} takes no value: {_shown(value)}", hint=right)

    def _check_argument(self, word: str, *, is_first: bool) -> None:
        """Refuse what is a flag but for its dashes, and a setting among the words of a prompt."""
        bare = word.lstrip(_LONG_DASHES + "-")
        names = bare.partition("=")[0]
        own = self._own(f"--{names}") or (self._own(f"-{names}") if len(names) == 1 else None)
        if word[:1] in tuple(_LONG_DASHES) and own:
            raise UsageError(
                f"{_shown(word)} begins with a long dash, not with -",
                hint=f"write {own.partition('=')[0]}",
            )
        is_text = self._argument in _TEXTS
        if is_text and not is_first and "=" in word and own and own.startswith("--"):
            raise UsageError(
                f"{_shown(word)} is no part of a prompt but an option",
                hint=f"write {own}{word[len(names) :]}, or quote the prompt",
            )

    def _no_such(self, word: str, name: str) -> UsageError:
        """The error for an unknown flag: what it is called here, or which one is near."""
        dashed = name if word.startswith("--") else word
        if self._argument and re.search(r"\s|^-\d", dashed):
            command = f"hfgen {self._command} " * (self._argument in _TEXTS)
            return UsageError(
                f"{_shown(word)} begins with a dash, as flags do",
                hint=f"put -- before it: {command}-- {shlex.quote(_shown(word))}",
            )
        hint = self._answer(name) or f"hfgen {self._command} --help"
        return UsageError(f"there is no option {_shown(name)}", hint=hint)

    def _answer(self, name: str) -> str | None:
        plain = name.replace("_", "-") if name.startswith("--") else name
        for answer in ANSWERED_FLAGS.get(plain, ()):
            if not answer.startswith("-"):
                return answer
            if answer.partition(" ")[0] in self._flags:
                return f"write {answer}"
        if (known := self._unknown(plain)) is not None:
            return known
        near = difflib.get_close_matches(plain, self._flags, n=2, cutoff=0.7)
        return f"did you mean {' or '.join(sorted(near))}?" if near else None


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
