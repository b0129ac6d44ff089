"""Markdown on the way to a terminal: however it is cut, it comes out once and the same."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Generator
from typing import Any

import pytest

from hfgen.cli.chat.answers import AnswerView
from hfgen.cli.chat.markdown import MarkdownText
from hfgen.cli.io.colours import Style
from hfgen.generation.records import Piece

TEXT = """\
Sure! Here is **some bold text** and `code x` with *emphasis*, 2 * 3 * 4, snake_case and a word 🦊
that wraps, then:
- item one
- item **two** that is long enough to go on in the next line of the screen
  - inner

1. first

2. second with `code`

# Heading *x*
Text after the heading, **unclosed bold
next line 你好你好你好你好你好你好你好你好你好你好你好你好 5*3 **bold**.

```python
def f(x):

    # a comment with a word that is long enough to be cut by the width of the terminal, if it were
    return x * 2
```
After code.

| a | b |
|---|---|
| 1 | 2 |

> quote \x1b[31m

Done** and `tick
"""


class Screen:
    """A console that keeps what is written."""

    def __init__(self) -> None:
        self.out = ""
        self.passing = ""
        self.thinking = ""
        self.has_colours = True

    def write(self, text: str, *, style: Style = Style.PLAIN) -> None:
        self.out += f"{style}{text}\x1b[0m" if style else text

    def show(self, text: str) -> None:
        self.out += text

    def aside(self, text: str) -> None:
        self.thinking += text

    def status(self, text: str) -> None:
        self.passing = text


def shown(text: str, seed: int | None = None, width: int = 60) -> str:
    console: Any = Screen()
    markdown = MarkdownText(console)
    markdown._width = width
    rng = random.Random(seed)
    while text:
        size = len(text) if seed is None else rng.randrange(1, 9)
        before = console.out
        markdown.add(text[:size])
        assert console.out.startswith(before)
        text = text[size:]
    markdown.end()
    return str(console.out)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [20, 33, 60, 100])
def test_it_does_not_depend_on_how_the_text_is_cut(width: int) -> None:
    whole = shown(TEXT, width=width)
    for seed in range(15):
        assert shown(TEXT, seed, width) == whole
    for word in ("Heading", "comment", "quote", "tick", "snake_case", "5*3", "2 * 3"):
        assert "".join(word.split()) in "".join(plain(whole).split())


def test_what_it_looks_like() -> None:
    out = shown(TEXT)
    assert "\x1b[1msome\x1b[0m \x1b[1mbold\x1b[0m" in out
    assert "\x1b[36mcode\x1b[0m" in out and "\x1b[3memphasis\x1b[0m," in out
    text = plain(out)
    assert "\n • item one\n • item two that is long" in text
    assert re.search(
        r"\n   [a-z ]*screen\n   • inner\n\n 1\. first\n\n 2\. second with code\n", text
    )
    assert "Text after the heading, **unclosed bold\nnext line" in text
    # Code keeps its columns and is not cut.
    assert "\ndef f(x):\n\n    # a comment with a word that is long" in text
    assert "if it were\n    return x * 2\nAfter code.\n" in text
    assert "▌ quote ␛[31m" in text
    assert "\x1b[31m" not in out
    assert text.endswith("\nDone** and `tick\n")


@pytest.mark.parametrize("width", [10, 20, 31])
def test_paragraphs_wrap_between_words(width: int) -> None:
    words = "the old king and his **golden bird** sat in the `garden` of the castle " * 5
    lines = plain(shown(words, 1, width)).splitlines()
    assert all(0 < len(line) <= width for line in lines)
    assert " ".join(lines).split() == words.replace("*", "").replace("`", "").split()
    chinese = plain(shown("你好 " * 40, 1, width)).splitlines()
    assert all(2 * len(line.replace(" ", "")) + line.count(" ") <= width for line in chinese)


def test_a_block_in_the_making_shows_its_end_in_passing() -> None:
    console: Any = Screen()
    markdown = MarkdownText(console)
    markdown.add("> a quote that is long enough for the screen")
    assert console.out == ""
    assert console.passing.endswith("for the screen")
    markdown.end()
    assert plain(console.out) == "▌ a quote that is long enough for the screen\n"


def test_code_comes_line_by_line_and_keeps_its_colours() -> None:
    console: Any = Screen()
    markdown = MarkdownText(console)
    code = 'x = """a\nif b\n"""\n\n\ny = 1'
    markdown.add("Code:\n```python\n" + code + "\n")
    assert plain(console.out) == f"Code:\n{code}\n"
    inside = console.out.splitlines()[2]
    assert plain(inside) == "if b" and inside.count("m") <= 2  # all of it is a string
    markdown.add("```\nEnd")
    markdown.end()
    assert plain(console.out) == f"Code:\n{code}\nEnd\n"


def test_thinking_stands_apart_and_the_first_interruption_only_stops() -> None:
    console: Any = Screen()
    view = AnswerView(console, has_markdown=True)

    def pieces() -> Generator[Piece, None, None]:
        yield Piece(0, 0, "", thinking="Hm **so**.")
        yield Piece(0, 0, "It is **so** ")
        os.kill(os.getpid(), signal.SIGINT)
        yield Piece(0, 0, "and ")
        raise AssertionError("not asked for")

    before = signal.getsignal(signal.SIGINT)
    assert view.show(pieces()) is False
    assert signal.getsignal(signal.SIGINT) is before
    assert console.thinking == "Hm **so**.\n\n"
    assert plain(console.out) == "It is so and\n"
