"""Exceptions of every origin become two lines and a promised status."""

from __future__ import annotations

import ast
import errno
import functools
import re

import pytest
from test_structure import PACKAGE, tree_of

from hfgen import errors
from hfgen.cli.flags.flag_spelling import FlagSpelling, flag_name
from hfgen.cli.program import failures
from hfgen.cli.program.commands import COMMANDS, load_command
from hfgen.cli.program.failures import Terminated, explain
from hfgen.errors import ExitCode, HfgenError, UsageError
from hfgen.mentions import mention

CASES = [
    (errors.ContextOverflow("too long", hint="shorter"), "too long", "shorter", 1),
    (errors.UsageError("wrong"), "wrong", "hfgen x --help", 2),
    (KeyboardInterrupt(), "interrupted", "nothing was written", 130),
    (Terminated(), "terminated", "nothing was written", 143),
    (MemoryError(), "not enough memory", "a smaller model", 1),
    (RuntimeError("CUDA out of memory. Tried to"), "not enough memory", "a smaller model", 1),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you"),
        "not enough",
        "a smaller model",
        1,
    ),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left", "free some space", 1),
    (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Permission", "who may", 1),
    (IndexError("index 3\nis out"), "unexpected IndexError: index 3", "--debug", 1),
    (AssertionError(), "unexpected AssertionError", "--debug", 1),
    (RecursionError("maximum depth"), "unexpected RecursionError: maximum", "--debug", 1),
    (SystemExit("gone"), "unexpected SystemExit: gone", "--debug", 1),
]


@pytest.mark.parametrize(("error", "message", "hint", "code"), CASES, ids=lambda v: str(v)[:30])
def test_explanation(error, message, hint, code):
    failure = explain(error, "hfgen x")
    assert failure.message.startswith(message)
    assert "\n" not in failure.message
    assert hint in failure.hint
    assert failure.exit_code == code


def _commands():
    """The flags of each command that has no commands of its own."""
    for name in COMMANDS:
        command = load_command(name)
        if not hasattr(command, "commands"):
            yield name, {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}


def _hints():
    """Every text that the library or a command gives as a hint, spelled as flags."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(tree_of(path)):
            for word in getattr(node, "keywords", ()):
                if word.arg == "hint":
                    found |= {_spelled(text) for text in _texts(word.value)}
    return sorted(found)


def _texts(node):
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    if isinstance(node, ast.Constant | ast.JoinedStr):
        return [ast.unparse(node)]
    return []


def _spelled(source):
    """Mentions as flags, whatever else is put in as X."""
    text = re.sub(r"\{mention\(['\"](\w+)['\"].*?\)\}", lambda m: flag_name(m[1]), source)
    return re.sub(r"\{.*?\}", "X", text).strip("f'\"")


def test_hints_name_flags_that_the_command_has(monkeypatch):
    # A command is read once, not with each of thousands of errors.
    monkeypatch.setattr(failures, "_flags_of", functools.cache(failures._flags_of))
    hints, commands = _hints(), dict(_commands())
    assert len(hints) > 150 and len(commands) > 6
    shown = dropped = 0
    for name, flags in commands.items():
        for error in [HfgenError("m", hint=hint) for hint in hints] + [MemoryError()]:
            hint = explain(error, f"hfgen {name}").hint
            shown, dropped = shown + 1, dropped + (hint != getattr(error, "hint", hint))
            for part in re.split(r", or |, | or ", hint):
                if not re.search(r"\b(hfgen|pip|git|llama-gguf-split|torchrun) ", part):
                    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", part)) <= flags, (name, hint)
    assert 0 < dropped < shown


def test_advice_that_the_command_cannot_take_is_left_out():
    hint = "try --dtype bfloat16, or a smaller model"
    assert explain(HfgenError("m", hint=hint), "hfgen generate").hint == hint
    assert explain(HfgenError("m", hint=hint), "hfgen finetune").hint == "try a smaller model"
    assert explain(MemoryError(), "hfgen merge").hint.startswith("use a smaller model")
    assert "--slots" in explain(MemoryError(), "hfgen generate").hint
    whole = "hfgen merge X -o DIR --overwrite, then -m DIR"
    assert explain(HfgenError("m", hint=whole), "hfgen estimate").hint == whole
    error = UsageError("m", hint=f"leave {mention('optim')} out")
    error.spell(FlagSpelling({"optim": "-O optim=x"}))
    assert explain(error, "hfgen finetune").hint == "leave -O optim out"


def _every(kind):
    for child in kind.__subclasses__():
        yield child
        yield from _every(child)


def test_every_error_of_hfgen_has_two_lines_and_a_promised_status():
    found = {kind for kind in _every(HfgenError) if kind.__module__ == "hfgen.errors"}
    assert len(found) > 15
    for kind in found:
        arguments = {"InvalidOption": ("a", 1, "b"), "MissingExtra": ("a", "b")}
        error = kind(*arguments.get(kind.__name__, ("message",)))
        failure = explain(error)
        assert failure.message and failure.hint
        promised = {"RowsFailed": {ExitCode.ROWS_FAILED}}
        usual = {ExitCode.FAILED, ExitCode.USAGE}
        assert failure.exit_code in promised.get(kind.__name__, usual)


@pytest.mark.parametrize(
    ("name", "message"),
    [("RuntimeError:x", "unexpected RuntimeError: x"), ("MemoryError", "not enough memory"),
     ("KeyError:k", "unexpected KeyError: 'k'"), ("OutOfMemory:full", "error: full")],
)  # fmt: skip
def test_failure_while_generating(fake, name, message):
    result = fake("generate", "x", "--format", "json", FAKE_FAIL=name, FAKE_FAIL_AT="2")
    result.assert_error(1, message)


def test_unexpected_failure_with_debug(fake):
    result = fake("generate", "x", "--debug", FAKE_FAIL="KeyError:k", FAKE_FAIL_AT="1")
    assert result.err.startswith("Traceback (most recent call last):\n")
    assert result.err.splitlines()[-2] == "error: unexpected KeyError: 'k'"
    assert result.code == 1
