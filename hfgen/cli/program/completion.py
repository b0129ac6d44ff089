"""Completion of command lines in the user's shell.

Typer has the protocol and the scripts: the shell runs `hfgen` with `_HFGEN_COMPLETE` set, and gets
the words that may stand at the cursor. Nothing is said on standard error then, whatever goes
wrong. What completes what is here; the candidates come from the catalogue, the Hub's cache and
the config file, without torch and without the network.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hfgen.config_file import read_document, write_file
from hfgen.errors import HfgenError, UsageError
from hfgen.setting_names import SETTINGS
from hfgen.settings import PRESETS, preset_names

COMPLETE_VARIABLE = "_HFGEN_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell")

Candidates = list[tuple[str, str]]
"""Words and what they mean."""


def complete(program: Any) -> None:
    """Answer the shell and exit."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()
    # Descriptions are wrapped at the terminal's width otherwise, and shells take lines for words.
    os.environ["COLUMNS"] = "1000"
    program.main(args=[], prog_name="hfgen", complete_var=COMPLETE_VARIABLE)


def words(*choices: str) -> Callable[[str], Candidates]:
    """Complete one of a few words."""

    def candidates(incomplete: str) -> Candidates:
        return [(choice, "") for choice in choices]

    return candidates


def models(incomplete: str) -> Candidates:
    """Complete a model's name: the user's aliases, the catalogue, the cache."""
    from hfgen.models.hub.cache import cached_repos
    from hfgen.models.naming.aliases import user_aliases
    from hfgen.models.naming.catalogue import CATALOGUE

    found = {alias: entry.summary for alias, entry in CATALOGUE.items()}
    for source in (user_aliases, lambda: dict.fromkeys(cached_repos(), "in the cache")):
        with contextlib.suppress(HfgenError, OSError):
            found |= source()
    return list(found.items())


def presets(incomplete: str) -> Candidates:
    """Complete a preset's name."""
    try:
        names = preset_names(read_document())
    except HfgenError:
        names = list(PRESETS)
    return [(name, PRESETS[name].reason if name in PRESETS else "") for name in names]


def settings(incomplete: str) -> Candidates:
    """Complete the name of a setting."""
    return [(name, setting.spec.help) for name, setting in SETTINGS.items()]


def setting_values(ctx: typer.Context, incomplete: str) -> Candidates:
    """Complete the value of the setting that the command line names."""
    name = str(ctx.params.get("name") or "").rpartition(".")[2].replace("-", "_")
    if name in ("model", "assistant_model"):
        return models(incomplete)
    setting = SETTINGS.get(name)
    if setting is None:
        return []
    choices = {"bool": ("true", "false"), "choice": setting.spec.choices}.get(setting.spec.kind, ())
    return words(*{"device": DEVICES, "dtype": DTYPES}.get(name, choices))(incomplete)


DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def _show(shell: str | None) -> None:
    if shell is not None:
        typer.echo(_script(shell, "--show-completion"))
        raise typer.Exit


def _install(shell: str | None) -> None:
    if shell is None:
        return
    script, home = _script(shell, "--install-completion").encode() + b"\n", Path.home()
    if shell == "bash":
        path = home / ".bash_completions" / "hfgen.sh"
        _add_line(home / ".bashrc", f"source '{path}'")
    elif shell == "zsh":
        path = home / ".zfunc" / "_hfgen"
        _add_line(home / ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit")
    elif shell == "fish":
        path = home / ".config" / "fish" / "completions" / "hfgen.fish"
    else:
        raise UsageError(
            f"completion cannot be installed for {shell}",
            hint=f"add the output of hfgen --show-completion {shell} to your profile",
        )
    write_file(path, script)
    typer.echo(f"completion for {shell} is in {path}: open a new terminal")
    raise typer.Exit


def _script(shell: str, flag: str) -> str:
    if shell not in SHELLS:
        raise UsageError(
            f"{flag} {shell}: must be {' or '.join(SHELLS)}", hint=f"hfgen {flag} bash"
        )
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    return get_completion_script(prog_name="hfgen", complete_var=COMPLETE_VARIABLE, shell=shell)


def _add_line(file: Path, line: str) -> None:
    """Add a line to a shell's start-up file, once."""
    text = file.read_bytes() if file.exists() else b""
    if line.encode() not in text:
        gap = b"" if not text or text.endswith(b"\n") else b"\n"
        write_file(file, text + gap + line.encode() + b"\n")


ShowCompletion = Annotated[
    str | None,
    typer.Option(
        "--show-completion",
        metavar="SHELL",
        help="Print the script that completes command lines in bash, zsh, fish or powershell. "
        "(default the shell of $SHELL)",
        callback=_show,
        is_eager=True,
        autocompletion=words(*SHELLS),
    ),
]
InstallCompletion = Annotated[
    str | None,
    typer.Option(
        "--install-completion",
        metavar="SHELL",
        help="Install that script for bash, zsh or fish. (default the shell of $SHELL)",
        callback=_install,
        is_eager=True,
        autocompletion=words(*SHELLS[:3]),
    ),
]
