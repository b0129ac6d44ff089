"""The config file in the user's editor.

The editor gets a copy beside the file. Only a copy that is right takes the file's place; a wrong
one is kept, and the next edit goes on with it.
"""

from __future__ import annotations

from pathlib import Path

from hfgen.claims import changing
from hfgen.cli.program.console import Console, is_interactive_input
from hfgen.cli.program.editor import run_editor
from hfgen.config_file import parse, write_file
from hfgen.errors import ConfigError, HfgenError, OutputError, UsageError
from hfgen.settings import check_document

_NEW_FILE = b"""\
# Settings of hfgen; `hfgen config list --all` shows all names.
# model = "gpt2"
# temperature = 0.8
#
# [presets.mine]
# temperature = 1.1
"""


def edit_file(console: Console, path: Path) -> None:
    """Have the user edit the file; raises `ConfigError` naming the line of a wrong copy.

    Where standard input is no terminal, an editor would wait for ever: `UsageError`.
    """
    if not is_interactive_input():
        raise UsageError(
            "config edit needs a terminal",
            hint=f"hfgen config set NAME VALUE, or change {path} itself",
        )
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is no regular file", hint="name another config file")
    original = _read(path)
    copy = path.with_name(f"{path.stem}.edit.toml")
    if copy.exists():
        console.notice(f"going on with the edit that was kept in {copy}")
    else:
        write_file(copy, _NEW_FILE if original is None else original)
    begun = copy.read_bytes()
    try:
        status = run_editor(copy)
    except HfgenError:
        copy.unlink(missing_ok=True)
        raise
    if status != 0:
        if copy.read_bytes() in (begun, original):
            copy.unlink()
        raise HfgenError(f"the editor ended with status {status}", hint=_kept(copy, path))
    edited = copy.read_bytes()
    try:
        check_document(parse(copy, edited))
    except ConfigError as error:
        error.hint = f"{path} is as it was; hfgen config edit goes on, or delete {copy}"
        raise
    with changing(path):
        if _read(path) != original:
            raise OutputError(f"{path} was changed meanwhile", hint=_kept(copy, path))
        if edited == original or (original is None and edited == _NEW_FILE):
            console.detail("nothing changed")
        else:
            write_file(path, edited)
            console.detail(f"saved {path}")
    copy.unlink()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _kept(copy: Path, path: Path) -> str:
    return f"{path} is as it was" + (f"; the edit is kept in {copy}" if copy.exists() else "")
