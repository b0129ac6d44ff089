"""Completion: the protocol of each shell, and real shells where they are installed."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import environment

from hfgen.generation.options.presets import PRESETS
from tests.processor_time import best_s

PATH = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.toml").write_text("[presets.poem]\ntop_k = 5\n")
    (tmp_path / "aliases.json").write_text('{"my-poet": "me/poems"}')
    (tmp_path / "hub" / "models--org--cached-model").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def env(folder):
    return {"HFGEN_CONFIG_DIR": str(folder), "HF_HUB_CACHE": str(folder / "hub")}


@pytest.fixture
def bash(hfgen_program, env):
    """The words that bash is offered for the last of `words`."""

    def complete(*words, program=hfgen_program, **more):
        protocol = {
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "_HFGEN_COMPLETE": "complete_bash",
        }
        done = subprocess.run(
            [program], capture_output=True, text=True, env=environment(env | protocol | more),
            stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return complete


CASES = [
    (["hfgen", "gen"], {"generate"}, set()),
    (["hfgen", "con"], {"config"}, {"generate"}),
    (["hfgen", "generate", "--t"], {"--temperature", "--top-k", "--top-p"}, {"--seed"}),
    (["hfgen", "generate", "x", "--pre"], {"--preset"}, set()),
    (["hfgen", "generate", "--preset", ""], {"poem", "precise", "code"}, set()),
    (["hfgen", "generate", "--preset", "p"], {"poem", "precise"}, {"code"}),
    (["hfgen", "generate", "--preset", "="], {"poem", "precise"}, set()),
    (
        ["hfgen", "generate", "-m", ""],
        {"gpt2", "storyteller", "my-poet", "org/cached-model"},
        set(),
    ),
    (["hfgen", "generate", "--model", "my"], {"my-poet"}, {"gpt2"}),
    (["hfgen", "generate", "--assistant-model", "distil"], {"distilgpt2"}, {"gpt2"}),
    (["hfgen", "generate", "--format", ""], {"text", "json", "jsonl"}, set()),
    (["hfgen", "generate", "--overflow", ""], {"error", "truncate", "slide"}, set()),
    (["hfgen", "generate", "--device", "c"], {"cpu", "cuda"}, {"mps"}),
    (["hfgen", "generate", "--dtype", "f"], {"float32", "float16"}, {"auto"}),
    (["hfgen", "generate", "'Once upon", ""], set(), set()),
    (["hfgen", "config", ""], {"list", "get", "set", "unset", "path", "edit"}, set()),
    (["hfgen", "config", "get", "max"], {"max_new_tokens"}, {"top_k"}),
    (["hfgen", "config", "set", "device", ""], {"cpu", "cuda", "auto"}, set()),
    (["hfgen", "config", "set", "offline", ""], {"true", "false"}, set()),
    (["hfgen", "config", "set", "model", "my"], {"my-poet"}, set()),
    (["hfgen", "--show-completion", ""], {"bash", "zsh", "fish", "powershell"}, set()),
    (["hfgen", "nonsense", "-"], set(), {"--temperature"}),
]


@pytest.mark.parametrize(
    ("words", "offered", "others"),
    CASES,
    ids=lambda v: " ".join(sorted(v) if isinstance(v, set) else v)[-40:],
)
def test_what_is_offered(bash, words, offered, others):
    found = set(bash(*words))
    assert offered <= found
    assert not others & found
    assert offered or not found or words[1] == "nonsense"


def test_broken_files_cost_only_what_they_hold(bash, folder):
    (folder / "config.toml").write_text("[[[")
    (folder / "aliases.json").write_text("[[[")
    assert bash("hfgen", "generate", "--preset", "") == [*PRESETS]
    assert "gpt2" in bash("hfgen", "generate", "-m", "")


def test_it_is_quick_and_imports_no_torch(bash, cold_program):
    code = (
        "import sys; from hfgen.cli.program.main import run; run([]);"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    protocol = {"COMP_WORDS": "hfgen\ngenerate\n-m\ng", "COMP_CWORD": "3",
                "_HFGEN_COMPLETE": "complete_bash"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=environment(protocol), timeout=60)  # fmt: skip
    assert "gpt2\n" in done.stdout and done.stdout.endswith("[]\n")
    assert best_s(lambda: bash("hfgen", "generate", "--t", program=cold_program)) < 0.7


def test_zsh_and_fish_get_descriptions_on_one_line(hfgen_program, env):
    def ask(shell, line, **more):
        protocol = {"_HFGEN_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line} | more
        done = subprocess.run([hfgen_program], capture_output=True, text=True, timeout=60,
                              env=environment(env | protocol))  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    lines = ask("zsh", "hfgen generate --preset ")
    assert lines[0] == '_arguments \'*: :(("poem"'
    assert lines[1].startswith('"precise":"the most likely words')
    assert len(ask("zsh", "hfgen generate --te")) == 1
    assert ask("zsh", "hfgen generate Once ") == ["_files"]
    get = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert ask("fish", "hfgen config g", **get)[0].startswith("get\tPrint one setting")


def test_a_nonsensical_request_says_nothing_on_standard_output(hfgen_program, env):
    for protocol in ({"_HFGEN_COMPLETE": "complete_bash"}, {"_HFGEN_COMPLETE": "nonsense"}):
        done = subprocess.run([hfgen_program], capture_output=True, text=True, timeout=60,
                              env=environment(env | protocol))  # fmt: skip
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_the_script_is_printed(installed, shell):
    result = installed("--show-completion", shell)
    assert (result.code, result.err) == (0, "")
    assert "_HFGEN_COMPLETE" in result.out
    if shutil.which(shell) and shell != "powershell":
        done = subprocess.run([shell, "-n"], input=result.out.encode(), capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")


def test_wrong_shells(installed):
    installed("--show-completion", "tcsh").assert_error(
        2, "--show-completion tcsh: must be bash or zsh", "hfgen --show-completion bash"
    )
    for flag in ("--install-completion", "--show-completion"):
        installed(flag, SHELL="").assert_error(2, f"{flag} needs a shell", f"hfgen {flag} bash")
        installed(flag, SHELL="/bin/tcsh").assert_error(2, f"{flag} tcsh: must be bash or zsh")
    installed("--install-completion", "powershell").assert_error(2, "cannot be installed for power")


@pytest.mark.parametrize(
    ("shell", "rc", "script"),
    [
        ("bash", ".bashrc", ".bash_completions/hfgen.sh"),
        ("zsh", ".zshrc", ".zfunc/_hfgen"),
        ("fish", None, ".config/fish/completions/hfgen.fish"),
    ],
)
def test_installing_adds_a_line_once_and_keeps_the_rest(installed, tmp_path, shell, rc, script):
    if rc:
        (tmp_path / rc).write_text("alias ll='ls -l'")
    for _ in range(2):
        result = installed("--install-completion", shell, HOME=str(tmp_path))
        assert (result.code, result.err) == (0, "")
        assert (
            result.out == f"completion for {shell} is in {tmp_path / script}: open a new terminal\n"
        )
    assert (tmp_path / script).read_text() == installed("--show-completion", shell).out
    own = {"HOME": str(tmp_path), "SHELL": f"/usr/bin/{shell}"}
    assert installed("--install-completion", **own).out == result.out
    assert installed("--show-completion", **own).out == (tmp_path / script).read_text()
    if rc:
        lines = (tmp_path / rc).read_text().splitlines()
        assert lines[0] == "alias ll='ls -l'" and len(lines) == 2


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_in_a_real_bash_on_a_terminal(installed, tmp_path, env):
    installed("--install-completion", "bash", HOME=str(tmp_path))
    with (tmp_path / ".bashrc").open("a") as file:
        file.write("PS1='ready> '\nbind 'set enable-bracketed-paste off'\n")
    main, other = os.openpty()
    more = env | PATH | {"HOME": str(tmp_path), "TERM": "dumb"}
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", str(tmp_path / ".bashrc"), "-i"], stdin=other,
        stdout=other, stderr=other, env=environment(more), cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    os.close(other)
    try:
        _wait_for(main, "ready> ")
        for typed, completed in [
            (b"hfgen gene\t", "generate "),
            (b"--preset poe\t", "poem "),
            (b"-m my\t", "my-poet "),
            (b"--overf\t", "--overflow "),
            (b"sli\t", "slide "),
        ]:
            os.write(main, typed)
            _wait_for(main, completed)
    finally:
        shell.kill()
        shell.wait()
        os.close(main)


def _wait_for(terminal, text):
    seen, end = "", time.monotonic() + 30
    while text not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
