"""Words by which lines of code are told apart, of many languages at once."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DEFINITIONS = _words(
    "def class defmodule defp defmacro func fn function fun sub proc procedure method macro "
    "module task template iterator cdef cpdef program trait impl interface struct"
)
"""Words of a line that begins a function, a class or the like."""
CONTAINERS = _words(
    "class module defmodule object interface trait impl namespace package extern mod record "
    "protocol extension service"
)
"""Words of a line whose block holds definitions."""
CONTROL = _words(
    "if for while switch else elif elsif elseif try catch except finally do with match foreach "
    "until unless case loop select begin when repeat synchronized using lock defer go"
)
"""Words that begin a block within a function."""
CONTINUES = _words("else elif elsif elseif catch except finally rescue ensure when then case")
"""Words that go on with the block that has just ended."""
CLOSERS = _words(
    "end fi done esac endif endfor endwhile endfunction endmodule endcase endmacro endforeach } ) ]"
)
"""What closes a block, on a line of its own."""
_WORD = re.compile(r"[^\W\d]\w*")
_FIRST = re.compile(r"[\s}]*([^\W\d]\w*|\S)?")


def words_of(line: str) -> set[str]:
    """The words of a masked line."""
    return set(_WORD.findall(line))


def first_word(line: str) -> str:
    """The first word of a masked line, or its first sign; closing brackets are skipped."""
    found = _FIRST.match(line)
    return (found and found[1]) or ""


def is_definition(line: str) -> bool:
    """Whether a masked line begins a function, a class or the like."""
    return not words_of(line).isdisjoint(DEFINITIONS)


def is_container(line: str) -> bool:
    """Whether a masked line begins what holds definitions."""
    return not words_of(line).isdisjoint(CONTAINERS)


def is_control(line: str) -> bool:
    """Whether a masked line begins a block within a function."""
    return first_word(line) in CONTROL


def may_become(text: str, words: frozenset[str]) -> bool:
    """Whether an unfinished text may become one of the words, or be one that goes on."""
    return text.isalnum() and any(word.startswith(text) for word in words)
