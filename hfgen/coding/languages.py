"""Programming languages as far as the end of a block is concerned, by pygments' lexers.

A lexer tells strings and comments from code; which family a language belongs to stands here, by
the lexer's alias. There is no parser.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hfgen.errors import UsageError


class Family(Enum):
    """What shows where a block ends."""

    INDENTED = "indentation"
    WORDED = "indentation, and a word that closes the block"
    BRACED = "curly brackets"
    BRACKETED = "brackets of any kind"
    PLAIN = "a blank line"


_FAMILIES = {
    Family.INDENTED: "python python2 cython gdscript nim coffeescript sass make yaml xonsh pug "
    "moonscript robotframework snakemake",
    Family.WORDED: "ruby lua luau crystal elixir julia bash fish matlab octave fortran ada vhdl "
    "verilog systemverilog delphi vbnet vim cmake",
    Family.BRACED: "c cpp objective-c objective-c++ csharp java javascript typescript jsx tsx go "
    "rust kotlin swift scala dart php perl d css scss less cuda groovy zig solidity protobuf "
    "terraform graphql awk powershell splus vala glsl hlsl haxe arduino opencl thrift ceylon "
    "nginx bicep gap odin carbon wgsl",
    Family.BRACKETED: "json json-object json5 clojure scheme common-lisp racket emacs-lisp hylang "
    "fennel newlisp",
}
_FAMILY_OF = {alias: family for family, names in _FAMILIES.items() for alias in names.split()}


@dataclass(frozen=True)
class Language:
    """A language: its name, how its blocks end, and pygments' lexer."""

    name: str
    """The lexer's name for people."""
    family: Family
    lexer: Any


def language_named(name: str) -> Language:
    """The language of a name, or of a file's extension. Raises `UsageError` with a near name."""
    from pygments.lexers import get_all_lexers, get_lexer_by_name, get_lexer_for_filename
    from pygments.util import ClassNotFound

    for find, text in ((get_lexer_by_name, name), (get_lexer_for_filename, f"x.{name}")):
        try:
            return _language(find(text))
        except ClassNotFound:
            continue
    aliases = [alias for _, found, _, _ in get_all_lexers() for alias in found]
    near = difflib.get_close_matches(name.lower(), aliases, n=1)
    hint = f"did you mean {near[0]}?" if near else "name one that pygments knows, as python or c"
    raise UsageError(f"there is no language {name!r}", hint=hint)


def language_of_file(name: str, text: str) -> Language:
    """The language of a file, by its name and what it holds; plain text where nothing is known."""
    from pygments.lexers import TextLexer, get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        return _language(get_lexer_for_filename(name, text))
    except ClassNotFound:
        return _language(TextLexer())


def language_of_text(text: str) -> Language:
    """The language of a text without a name, by its looks: Python, or C and its like.

    Lexers for these tell strings and comments apart in most languages of the two kinds.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    braces = sum(line.endswith(("{", "}", ";", "*/")) for line in lines)
    colons = sum(line.endswith(":") or line.startswith(("import ", "from ", "#")) for line in lines)
    return language_named("c" if braces > colons else "python")


def _language(lexer: Any) -> Language:
    alias = lexer.aliases[0] if lexer.aliases else ""
    return Language(lexer.name, _FAMILY_OF.get(alias, Family.PLAIN), lexer)
