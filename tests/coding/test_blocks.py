"""Where a completion ends: by indentation, by brackets, at a blank line."""

from __future__ import annotations

import inspect
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfgen.coding.blocks import Until, block_end
from hfgen.coding.languages import Family, language_named, language_of_file, language_of_text
from hfgen.coding.masks import COMMENT, STRING, masked, open_brackets
from hfgen.errors import UsageError

# What is before the cursor, what a model writes, and what is kept of it.
CASES: dict[str, tuple[str, str, str, str]] = {
    "a function behind its docstring": (
        "a.py", "def f(x):\n    '''doc'''\n",
        "    for y in x:\n        print('}')\n    return {\n1: 2}", "\n\n\ndef g():\n",
    ),
    "a function from its header": (
        "a.py", "def f(x):",
        "\n    if x:\n        return 1\n    else:\n        return '''\nabc\n'''", "\nprint(f(1))",
    ),
    "a header that goes on": ("a.py", "def f(", "\n    x,\n):\n    return x", "\n\n\nf(1)\n"),
    "an empty file": (
        "a.py", "",
        "import os\n\nX = 1\n\nclass A:\n    @property\n    def f(self):\n        pass\n\n"
        "    y = 1",
        "\n\n# more\n",
    ),
    "the next method": (
        "a.py", "class A:\n    def g(self):\n        return 1\n",
        "\n    @property\n    def f(self):\n        return 2", "\n\n    def h(self): pass",
    ),
    "a loop in a function": (
        "a.py", "def f():\n    for x in xs:\n        if x:\n",
        "            y = 1\n        z = 2\n    return z", "\n\nx",
    ),
    "a helper within a function": (
        "a.py", "def f():\n    '''doc'''\n",
        "    def g():\n        return 1\n\n    return g()", "\n\nf()",
    ),
    "a statement": ("a.py", "x = foo(", "1,\n 2)", "\ny = 2\n"),
    "a backslash": ("a.py", "x = 1 + \\\n", "2", "\ny = 2\n"),
    "an else at the top": ("a.py", "if x:", "\n    a\nelse:\n    b", "\nwhile 1:\n  c\n"),
    "an open docstring": (
        "a.py", 'def f():\n    """Return', ' it.\n\nAll.\n    """\n    return 1', "\n\nf()",
    ),
    "tabs": ("a.py", "def f():\n\tif x:\n", "\t\ta()\n\tb()", "\nc()"),
    "the header of a C function": (
        "a.c", "int main(",
        "int n, char **v) {\n  /* } */ char c = '}'; puts(\"}\");\n  if (n) { f(); }\n"
        "  else g();\n  return 0;\n}", "\n\nint f() {}\n",
    ),
    "a C statement": ("a.c", "int x[] = ", "{1,2};", "\nint y;\n"),
    "a branch in a C function": (
        "a.c", "int f() {\n  if (a) {\n    ",
        "b();\n  } else {\n c();\n  }\n  return 1;\n}", "\nint g;",
    ),
    "a C structure": (
        "a.c", "typedef struct {\n", "  int a;\n  struct { int b; } c;\n} foo;", "\nint x;\n",
    ),
    "brackets of its own line": (
        "a.c", "int f(void)\n{\n", "  do {\n    x--;\n  } while (x);\n  g(1);\n}",
        " // end\nint g;",
    ),
    "a callback": (
        "a.js", 'describe("x", () => {\n',
        '  it("}", () => {\n    a.replace(/}/g, `${b} }`)\n  });\n});', "\nfoo();\n",
    ),
    "a JavaScript method": (
        "a.js", "class A {\n  x() {\n    return 1;\n  }\n",
        "  y() { // }\n    for (;;) {\n}\n  }", "\n\n  z() {}\n}\n",
    ),
    "an object in a comment": ("a.ts", "function f() {\n", "  /* } */\n  g({\n  });\n}", "\nx"),
    "a Java method with a field before it": (
        "A.java", "class A {\n",
        "  int x = 1;\n\n  @Override\n  public void f() {\n    if (a) {\n    }\n  }",
        "\n\n  int y;\n}\n",
    ),
    "JSON": ("a.json", '{"a": [1, {"b{":', ' "c"}],\n "d": 2}', "\n{"),
    "Go": ("a.go", "func f() {\n\tx := ", "`}`\n\tif x { y() }\n}", "\n\nfunc g() {"),
    "Rust": (
        "a.rs", "fn f<'a>(x: &'a str) -> u8 {\n", "    let c = '}'; match x { _ => 1 }\n}",
        "\n\nfn g()",
    ),
    "Lisp": ("a.clj", "(defn f [x]\n", '  (str "(" x))', "\n(f 1)"),
    "CSS": ("a.css", "a {\n", "  color: red;\n}", "\n\nb {"),
    "a Makefile": ("Makefile", "all: x\n", '\tcc "$<"\n\techo }', "\n\nclean:\n\trm"),
    "YAML": ("a.yaml", "a:\n", "  b: 1\n  c:\n    - d", "\ne: 2\n"),
    "Haskell": (
        "a.hs", "f :: Int -> Int\n", "f x = case x of\n  1 -> {- \n\n -} 2\n\n  _ -> 3",
        "\n\ng = 2",
    ),
    "Ruby": (
        "a.rb", "def f(x)\n",
        "  x.each do |y|\n    puts y\n  end\n  if x\n    1\n  else\n    2\n  end\nend", "\n\ndef g",
    ),
    "Lua": ("a.lua", "local function f(x)\n", "  for i = 1, 2 do\n    g(i)\n  end\nend", "\nf(1)"),
    "a shell function": (
        "a.sh", "f() {\n", "  for x in a; do\n    echo $x\n  done\n}", "\n\nf\n",
    ),
    "text": ("a.txt", "hello", " world\nand more", "\n\nnext"),
}  # fmt: skip


@cache
def language(name: str, text: str = ""):
    return language_of_file(name, text)


def cut(name, before, written, after="", until: Until = "function", step=1):
    """What is kept of a text that comes in pieces, and whether its end was found."""
    return cut_and_read(name, before, written, after, until, step)[:2]


def cut_and_read(name, before, written, after, until, step):
    """The same, and how much of the text was read."""
    end = block_end(language(name), before, after, until)
    kept = ""
    for start in range(0, len(written), step):
        piece, is_end = end.add(written[start : start + step])
        kept += piece
        if is_end:
            return kept, True, start + step
    piece, is_end = end.flush()
    return kept + piece, is_end, len(written)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [1, 4, 10_000])
def test_the_end_of_a_function(case, step):
    name, before, wanted, more = CASES[case]
    assert cut(name, before, wanted + more, step=step) == (wanted, True)


@pytest.mark.parametrize("case", CASES)
def test_windows_line_ends(case):
    name, before, wanted, more = CASES[case]
    written = (wanted + more).replace("\n", "\r\n")
    kept, is_end = cut(name, before.replace("\n", "\r\n"), written, step=1)
    if "\\" in before:
        return
    assert (kept.replace("\r\n", "\n"), is_end) == (wanted, True)


@pytest.mark.parametrize(
    ("name", "before", "after", "written", "wanted"),
    [
        ("a.c", "int f() {\n  return a(", ");\n}\n", "b) + c;\n}\n", "b"),
        ("a.c", "int f() {\n  int a;\n  ", "\n}\n", "b = 1;\n  c = 2;\n}\nint g;",
         "b = 1;\n  c = 2;"),
        ("a.js", "f(() => {\n  ", "\n});\n", "g(1);\n  if (x) { y(); }\n});\nh()",
         "g(1);\n  if (x) { y(); }"),
        ("a.py", "x = foo(", ")\ny = 2", "1, 2) + 1\n", "1, 2"),
        ("a.py", "def f():\n    ", "\n\ndef g():\n", "a = (1)\n    return a\n\ndef h",
         "a = (1)\n    return a"),
        ("a.py", "def f():\n    x = ", "\n    return x\n", "1", "1"),
        ("a.json", '{"a": ', ', "b": 2}', "[1]}, 3", "[1]"),
    ],
)  # fmt: skip
def test_what_the_suffix_closes_is_not_closed(name, before, after, written, wanted):
    for step in (1, 1000):
        assert cut(name, before, written, after, step=step)[0] == wanted


@pytest.mark.parametrize(
    ("until", "name", "before", "wanted", "more"),
    [
        ("block", "a.py", "def f():\n    for x in y:\n", "        z(x)\n", "    return 1\n"),
        ("block", "a.py", "def f():\n    for x in y:", "\n        z(x)\n", "    return 1\n"),
        ("block", "a.c", "int f() {\n  if (a) {", "\nb();\n  } else {\n c();\n  }",
         "\n  return 1;\n}"),
        ("block", "a.c", "int f() {\n  if (a) {", "\nb();\n  }\n  else {\n c();\n  }",
         "\n  return 1;\n}"),
        ("block", "a.json", '{"a": {"b": ', "1}", "}\n"),
        ("line", "a.py", "x = ", "(1,", "\n2)\ny"),
        ("line", "a.py", "def f():", "\n    return 1", "\n\nx"),
        ("eof", "a.py", "x = ", "1\n\n\ny = 2\n", ""),
    ],
)  # fmt: skip
def test_other_ends(until, name, before, wanted, more):
    for step in (1, 1000):
        kept, is_end = cut(name, before, wanted + more, until=until, step=step)
        assert kept.rstrip() == wanted.rstrip()
        assert is_end == (until != "eof")


def test_a_text_that_stays_open_is_kept_whole():
    for case, (name, before, wanted, _) in CASES.items():
        half = wanted[: len(wanted) // 2]
        if case == "an else at the top":
            half = wanted[:5]
        assert cut(name, before, half)[0].rstrip() == half.rstrip()


def test_text_streams():
    """Nothing but blanks, and the rest of a line that may close the block, is held back."""
    end = block_end(language("a.py"), "def f():\n", "", "function")
    pieces = [end.add(piece)[0] for piece in ("    return", " x", " + 1", "\n", "\n", "print")]
    assert pieces == ["    return", " x", " + 1", "", "", ""]
    end = block_end(language("a.c"), "int f() {\n", "", "function")
    assert [end.add(piece) for piece in ("  g();", "\n}", "\n")] == [
        ("  g();", False), ("\n}", False), ("", True),
    ]  # fmt: skip


FILES = {"Python": "a.py", "C": "a.c", "JavaScript": "a.js", "JSON": "a.json", "Ruby": "a.rb",
         "Makefile": "Makefile", "Haskell": "a.hs", "Go": "a.go", "CSS": "a.css"}  # fmt: skip
SCRAPS = st.lists(
    st.sampled_from(
        ["def f():\n", "class A:\n", "    ", "\n", "return x\n", "if x {\n", "}\n", "(", ")", "{",
         "}", "[", "]", '"', "'", "`", '"""', "/*", "*/", "//", "#", "\\", ";", ",", "else",
         " else {\n", "end\n", "do\n", "x", " ", "\t", "é", "😀", "/}/", "${", "=>", "@a\n",
         "int f() {\n", "\r\n"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.sampled_from([*FILES]), SCRAPS, SCRAPS, SCRAPS, st.sampled_from(["function", "block"]),
       st.integers(1, 30))  # fmt: skip
def test_whatever_is_written(name, before, written, after, until, step):
    """The kept text is a beginning, whole where there is no end, and ends between tokens.

    Brackets that it opened are closed again. What is a token is what it is in the text so far:
    quotes that come later may make a string of anything.
    """
    file = FILES[name]
    kept, is_end, read = cut_and_read(file, before, written, after, until, step)
    assert written.startswith(kept)
    if not is_end:
        assert kept.rstrip() == written.rstrip()
        return
    found = language(file)
    mask, at = masked(found, before + written[:read]), len(before) + len(kept)
    if name != "Makefile":  # in which the lexer takes any two quotes for a string's
        assert mask[at - 1 : at + 1] not in (STRING * 2, COMMENT * 2)
    mask_before = masked(found, before)
    is_code = found.family in (Family.BRACED, Family.BRACKETED) and mask.startswith(mask_before)
    if is_code and brackets_match(mask):
        assert len(open_brackets(mask[:at])) <= len(open_brackets(mask_before))


def brackets_match(mask):
    """Whether no bracket is closed by one of another kind, after which nothing can be promised."""
    opened = []
    for char in mask:
        if char in "([{":
            opened.append(char)
        elif char in ")]}" and opened and opened.pop() + char not in ("()", "[]", "{}"):
            return False
    return True


@pytest.mark.parametrize("module", ["hfgen.coding.blocks", "hfgen.generation.text", "json.decoder"])
def test_functions_of_real_files(module):
    """Each function of a file, from behind its first line on, is what Python's own reader says."""
    import ast
    import importlib

    text = inspect.getsource(importlib.import_module(module))
    lines = text.splitlines(keepends=True)
    functions = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)
        and node.body[0].lineno > node.lineno
    ]  # fmt: skip
    assert len(functions) > 5
    for node in functions[:12]:
        start = node.body[0].lineno - 1
        before, rest = "".join(lines[:start]), "".join(lines[start:])
        kept, is_end = cut("a.py", before, rest, step=200)
        body = "".join(lines[start : node.end_lineno])
        nested = "def " in body or "class " in body
        assert is_end or node.end_lineno == len(lines)
        assert kept == body.rstrip() or nested


def test_a_long_prefix_is_read_in_part():
    before = "x = 1\n" * 40_000 + "def f():\n"
    assert cut("a.py", before, "    return 1\n\ny = 2\n") == ("    return 1", True)


def test_languages():
    assert language("a.py").family is Family.INDENTED
    assert language("a.hs").family is Family.PLAIN
    assert language("unknown.zzz").family is Family.PLAIN
    assert language_named("js").name == "JavaScript"
    assert language_named("rs").name == "Rust"
    with pytest.raises(UsageError) as caught:
        language_named("pyton")
    assert caught.value.hint == "did you mean python?"
    assert language_of_text("#include <a.h>\nint f() {\n  g();\n").family is Family.BRACED
    assert language_of_text("import os\n\ndef f():\n").family is Family.INDENTED
