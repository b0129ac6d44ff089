"""`hfgen models` as a process: streams, exit codes, JSON, questions, time."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_ins import COMMIT, StandInHub, environment, put_in_cache

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def offer(hub: StandInHub, tiny_folder: Path) -> dict[str, bytes]:
    hub.repos["org/name"] = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    return hub.repos["org/name"]


def assert_error(
    done: subprocess.CompletedProcess[str], code: int, message: str, hint: str = ""
) -> None:
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("hint: "), (
        done
    )
    assert message in lines[0] and hint in lines[1], done
    assert (done.returncode, done.stdout) == (code, ""), done


def test_list(program: Program, cache: Path, tiny_folder: Path) -> None:
    put_in_cache(cache, tiny_folder, "openai-community/gpt2")
    put_in_cache(cache, tiny_folder, "me/poems")
    assert program("models", "alias", "poet=me/poems").returncode == 0
    done = program("models", "list")
    assert (done.returncode, done.stderr) == (0, "")
    catalogue, others, own = done.stdout.split("\n\n")
    rows = {line.split()[0]: line for line in catalogue.splitlines()}
    assert len(rows) == 32
    assert rows["gpt2"].split() == [
        "gpt2", "124M", "1024", "base", "mit", *rows["gpt2"].split()[5:7], "openai-community/gpt2",
    ]  # fmt: skip
    assert rows["gpt2"].split()[6] in ("kB", "MB")
    assert rows["gpt2-xl"].split()[5] == "-"
    assert rows["gpt3"].endswith("EleutherAI/gpt-neo-1.3B, in place of GPT-3")
    assert others.splitlines()[0] == "also in the cache" and "me/poems" in others
    assert own == "your aliases\npoet  me/poems\n"


def test_list_as_json(program: Program, cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "me/poems")
    listed = json.loads(program("models", "list", "--json").stdout)
    assert [entry["alias"] for entry in listed["catalogue"]][:2] == ["gpt2", "gpt2-medium"]
    assert listed["cached"] == [
        {
            "repo_id": "me/poems", "commit": COMMIT, "path": str(snapshot), "problem": None,
            "size_bytes": len(COMMIT) + sum(f.stat().st_size for f in tiny_folder.iterdir()),
        }
    ]  # fmt: skip
    assert listed["aliases"] == {}


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["list", "--json"], ["--help"], ["show", "--help"], ["alias"], ["lst"], ["pull"]],
)
def test_lists_help_and_usage_errors_import_nothing_heavy(
    tmp_path: Path, arguments: list[str]
) -> None:
    code = (
        "import sys\nfrom hfgen.cli.program.main import run\n"
        f"run({['models', *arguments]!r})\n"
        "heavy = {'torch', 'transformers', 'httpx2', 'tokenizers', 'huggingface_hub.hf_api'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done


def test_show(program: Program) -> None:
    done = program("models", "show", "storyteller")
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert rows["window"].strip() == "512 tokens"
    assert rows["parameters"].strip() == "5,918,720"
    assert rows["memory"].strip() == "24 MB as float32, 12 MB as bfloat16, 12 MB as float16"
    assert rows["chat template"].strip() == "no"
    assert "unknown" not in rows


def test_show_of_a_stand_in_without_network(program: Program) -> None:
    done = program("models", "show", "gpt4")
    assert done.returncode == 0
    assert "stands in for: small" not in done.stdout
    assert "stands in for: GPT-4: It comes from the maker of GPT-4" in done.stdout
    assert "not on this machine (hfgen models pull gpt4)" in done.stdout
    assert "unknown:       architecture, chat template, size on disk" in done.stdout


def test_show_as_json(program: Program) -> None:
    known = json.loads(program("models", "show", "gpt2", "--json").stdout)
    assert known["parameters"] == 124_439_808
    assert known["memory_bytes"]["float32"] == 497_759_232
    assert known["unknown"] == ["architecture", "has_template", "disk_bytes"]


def test_pull(program: Program, hub: StandInHub, offer: dict[str, bytes], cache: Path) -> None:
    done = program("models", "pull", "org/name", HF_ENDPOINT=hub.url)
    size = sum(map(len, offer.values()))
    assert done.returncode == 0
    assert done.stdout.startswith(f"org/name@{COMMIT[:8]} downloaded: {size / 1e3:.0f} kB in ")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr.startswith("notice: downloading org/name (")
    assert len(done.stderr.splitlines()) == 1
    again = program("models", "pull", "org/name", "--json", "-q", HF_ENDPOINT=hub.url)
    record = json.loads(again.stdout)
    assert (again.stderr, record["was_here"], record["size_bytes"]) == ("", True, size)
    assert Path(record["path"]).is_dir()
    offline = program("models", "pull", "org/name", "--offline", HF_ENDPOINT=hub.url)
    assert "already cached, verified" in offline.stdout
    assert offline.stderr == (
        "notice: offline mode is on: the copy that is here was checked, and not renewed\n"
    )


def test_pull_shows_bars_on_a_terminal(
    hub: StandInHub, tmp_path: Path, offer: dict[str, bytes]
) -> None:
    offer["model.safetensors"] = _padded(offer["model.safetensors"], 3_000_000)
    hub.pause_s = 0.02
    leader, follower = pty.openpty()
    env = environment(tmp_path, HF_ENDPOINT=hub.url, TERM="xterm")
    command = [sys.executable, "-m", "hfgen", "models", "pull", "org/name"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=follower) as run:
        os.close(follower)
        shown = b""
        while True:
            try:
                data = os.read(leader, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data
        out = run.stdout.read() if run.stdout else b""
    os.close(leader)
    assert run.returncode == 0
    assert out.startswith(b"org/name@")
    assert b"downloading org/name (" in shown
    assert b"model.safetensors" in shown and b"/3.7 MB" in shown


def test_an_interrupted_pull_says_that_it_goes_on(
    hub: StandInHub, tmp_path: Path, offer: dict[str, bytes]
) -> None:
    offer["model.safetensors"] = _padded(offer["model.safetensors"], 3_000_000)
    hub.pause_s = 0.2
    command = [sys.executable, "-m", "hfgen", "models", "pull", "org/name"]
    env = environment(tmp_path, HF_ENDPOINT=hub.url)
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        while not list(tmp_path.rglob("*.hfgen.incomplete")):
            threading.Event().wait(0.02)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate()
    assert (run.returncode, out) == (130, "")
    assert err.splitlines()[-2:] == [
        "error: interrupted",
        "hint: what was fetched is kept: the same command resumes where it stopped",
    ]


def _padded(weights: bytes, size: int) -> bytes:
    """A safetensors file with one tensor more, of `size` bytes."""
    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    end = len(weights) - 8 - length
    header["extra"] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + weights[8 + length :] + b"\1" * size


@pytest.mark.parametrize(
    ("prepare", "code", "message", "hint"),
    [
        ({"faults": {"/api/": (401, {})}}, 1, "does not accept the token", "hf auth login"),
        ({"faults": {"/api/": (403, {"X-Error-Code": "GatedRepo"})}}, 1, "gated", "ask for access"),
        (
            {"faults": {"/storage/": (429, {"Retry-After": "300"})}}, 1,
            "asks to slow down", "wait 5 minutes",
        ),
        ({"corrupted": {"model.safetensors"}}, 1, "came damaged", "run the command again"),
    ],
)  # fmt: skip
def test_faults_as_the_user_sees_them(
    program: Program, hub: StandInHub, offer: dict[str, bytes], prepare: dict[str, Any],
    code: int, message: str, hint: str,
) -> None:  # fmt: skip
    for name, value in prepare.items():
        setattr(hub, name, value)
    secret = "hf_" + "s3cret" * 5
    started = time.monotonic()
    done = program(
        "models", "pull", "org/name", "-q", HF_ENDPOINT=hub.url, HF_TOKEN=secret
    )  # fmt: skip
    assert time.monotonic() - started < 10
    assert_error(done, code, message, hint)
    loud = program(
        "models", "pull", "org/name", "-v", "--debug", HF_ENDPOINT=hub.url, HF_TOKEN=secret
    )  # fmt: skip
    assert "Traceback" in loud.stderr and secret not in loud.stderr + loud.stdout
    assert any(token == f"Bearer {secret}" for _, token in hub.tokens)


def test_rm(program: Program, cache: Path, tiny_folder: Path) -> None:
    put_in_cache(cache, tiny_folder, "org/name")
    folder = cache / "models--org--name"
    dry = program("models", "rm", "org/name", "--dry-run")
    assert dry.returncode == 0 and dry.stdout.startswith("would remove org/name (")
    assert folder.is_dir()
    unasked = program("models", "rm", "org/name")
    assert_error(unasked, 2, "nobody can be asked here", "add --yes")
    assert folder.is_dir()
    done = program("models", "rm", "org/name", "--yes", "--json")
    assert json.loads(done.stdout)["removed"] is True
    assert not folder.exists()


@pytest.mark.parametrize(("answer", "is_gone"), [(b"y\n", True), (b"\n", False), (b"no\n", False)])
def test_rm_asks_on_a_terminal(
    cache: Path, tiny_folder: Path, tmp_path: Path, answer: bytes, is_gone: bool
) -> None:
    put_in_cache(cache, tiny_folder, "org/name")
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "hfgen", "models", "rm", "org/name"],
        env=environment(tmp_path, TERM="xterm"),
        stdin=follower, stdout=subprocess.PIPE, stderr=follower,
    ) as run:  # fmt: skip
        os.close(follower)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(leader, 1024)
        os.write(leader, answer)
        out = run.stdout.read() if run.stdout else b""
    os.close(leader)
    assert b"remove org/name (" in shown
    assert (cache / "models--org--name").exists() is not is_gone
    assert run.returncode == (0 if is_gone else 1)
    assert out.startswith(b"removed org/name") if is_gone else out == b""


def test_alias(program: Program) -> None:
    assert program("models", "alias").stdout == ""
    assert program("models", "alias", "poet=me/poems").stdout == ""
    assert program("models", "alias").stdout == "poet = me/poems\n"
    assert json.loads(program("models", "alias", "--json").stdout) == {"poet": "me/poems"}
    assert program("models", "alias", "--remove", "poet").returncode == 0
    assert json.loads(program("models", "alias", "--json").stdout) == {}


WRONG = [
    (["lst"], 2, "there is no command 'lst'", "did you mean hfgen models list?"),
    (["show", "gtp2"], 1, "there is no model 'gtp2'", "did you mean gpt2?"),
    (["pull", "gtp2"], 1, "there is no model 'gtp2'", "did you mean gpt2?"),
    (["rm", "gtp2"], 1, "gtp2 is not in the cache", "hfgen models list"),
    (["rm", "storyteller"], 2, "storyteller ships with hfgen", ""),
    (["alias", "poet"], 2, "poet is not NAME=MODEL", "hfgen models alias poet=me/gpt2-poems"),
    (["alias", "gpt2=me/x"], 2, "gpt2 is an alias of the catalogue", "my-gpt2=me/x"),
    (["alias", "a b=me/x"], 2, "alias = 'a b': must be letters", ""),
    (["alias", "--remove", "poet"], 1, "there is no alias 'poet' of your own", ""),
    (["alias", "a=b", "--remove", "c"], 2, "an alias is set and another removed", ""),
    (["list", "-q", "-v"], 2, "--quiet leaves errors only", "drop one"),
    (["show", "./none"], 1, "there is no folder ./none", ""),
]


@pytest.mark.parametrize(("arguments", "code", "message", "hint"), WRONG, ids=lambda v: str(v)[:30])
def test_wrong_usage(
    program: Program, arguments: list[str], code: int, message: str, hint: str
) -> None:
    assert_error(program("models", *arguments), code, message, hint)


def test_gpt3_without_hub_is_known_soon_and_then_at_once(program: Program, hub: StandInHub) -> None:
    """The issue's third case, with a Hub that hangs: the slowest way not to be there."""
    hub.hangs = True
    arguments = ("generate", "-m", "gpt3", "-n", "1", "x")

    def timed(*arguments: str) -> float:
        started = time.monotonic()
        done = program(*arguments, HF_ENDPOINT=hub.url)
        elapsed_s = time.monotonic() - started
        if "gpt3" in arguments:
            assert_error(
                done, 1,
                "gpt3 is another model under this name, EleutherAI/gpt-neo-1.3B: gpt3 is not on "
                "this machine and the Hugging Face Hub cannot be reached",
                "hfgen models pull gpt3; until then the bundled model: -m storyteller",
            )  # fmt: skip
        else:
            assert done.returncode == 0, done
        return elapsed_s

    normal_s = timed("generate", "-m", "storyteller", "-n", "1", "x")
    first_s = timed(*arguments)
    second_s = min(timed(*arguments) for _ in range(2))
    print(f"start {normal_s:.2f} s, first {first_s:.2f} s, then {second_s:.2f} s")
    assert len(hub.requests) == 1
    assert first_s < 3.0 + 1.0  # a second for a busy machine
    assert second_s < 1.5 * normal_s


def test_a_stand_in_is_announced_where_it_answers(
    program: Program, cache: Path, tiny_folder: Path
) -> None:
    put_in_cache(cache, tiny_folder, "EleutherAI/gpt-neo-1.3B")
    arguments = ("generate", "-m", "gpt3", "-n", "2", "--seed", "1", "--format", "json", "x")
    done = program(*arguments)
    assert done.returncode == 0
    assert done.stderr == (
        "notice: gpt3's weights are not public: using EleutherAI/gpt-neo-1.3B in its place\n"
    )
    assert json.loads(done.stdout)["model"] == "gpt3"
    quiet = program(*arguments, "-q")
    assert (quiet.stderr, quiet.stdout) == ("", done.stdout)
