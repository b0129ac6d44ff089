"""Exceptions of every origin become two lines and a promised status."""

from __future__ import annotations

import errno

import pytest

from hfgen import errors
from hfgen.cli.failures import Terminated, explain
from hfgen.errors import ExitCode, HfgenError

CASES = [
    (errors.ContextOverflow("too long", hint="shorter"), "too long", "shorter", 1),
    (errors.UsageError("wrong"), "wrong", "hfgen x --help", 2),
    (KeyboardInterrupt(), "interrupted", "nothing was written", 130),
    (Terminated(), "terminated", "nothing was written", 143),
    (MemoryError(), "not enough memory", "--slots", 1),
    (RuntimeError("CUDA out of memory. Tried to"), "not enough memory", "--slots", 1),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "not enough", "--slots", 1),
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


@pytest.mark.parametrize("name", ["RuntimeError", "MemoryError", "KeyError", "OutOfMemory"])
def test_failure_while_generating(fake, name):
    result = fake("generate", "x", "--format", "json", FAKE_FAIL=name, FAKE_FAIL_AT="2")
    result.assert_error(1, "")


def test_unexpected_failure_with_debug(fake):
    result = fake("generate", "x", "--debug", FAKE_FAIL="KeyError:k", FAKE_FAIL_AT="1")
    assert result.err.startswith("Traceback (most recent call last):\n")
    assert result.err.splitlines()[-2] == "error: unexpected KeyError: 'k'"
    assert result.code == 1
