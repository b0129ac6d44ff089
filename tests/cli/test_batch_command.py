"""`hfgen batch` as a command: streams, exit codes, kills, several processes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import environment

import hfgen
from hfgen.cli.program.main import run as run_hfgen
from tests import warm

BUNDLED = str(Path(hfgen.__file__).parent / "models" / "bundled" / "storyteller")


@pytest.fixture
def program(lm_of, monkeypatch, tmp_path, capfd):
    """Run `hfgen batch` in this process on a tiny model: exit status, output, messages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hfgen.loading.load_model", lambda which: lm_of("gpt2"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hfgen", "batch", *arguments])
        code = run_hfgen(["batch", *arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


def records(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_file_to_a_file(program, tmp_path) -> None:
    Path("in.jsonl").write_text('"one"\n{"id": "b", "prompt": "two", "note": 1}\n')
    code, out, err = program("in.jsonl", "-o", "out.jsonl", "-n", "3", "--seed", "7")
    assert (code, out) == (0, "")
    assert err.startswith("notice: 2 rows in 0 s, ")
    assert err.count("\n") == 1
    found = records("out.jsonl")
    assert [r["seed"] for r in found] == [7, 8]
    assert found[1]["note"] == 1
    code, out, err = program("in.jsonl", "-o", "out.jsonl", "-n", "3")
    assert (code, out) == (1, "")
    assert "hint: --resume continues it" in err
    code, out, err = program("in.jsonl", "-o", "out.jsonl", "-n", "3", "--resume", "-q", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["skipped"] == 2
    assert json.loads(out)["seed"] == 7
    code, out, err = program("in.jsonl", "-o", "out.jsonl", "-n", "4", "--resume")
    assert code == 2
    assert 'options ({"max_new_tokens": 3}, now {"max_new_tokens": 4})' in err
    assert program("in.jsonl", "-o", "out.jsonl", "-n", "4", "--overwrite", "-q")[0] == 0
    assert records("out.jsonl")[0]["completion_tokens"] == 4


def test_failed_rows_are_status_3(program) -> None:
    Path("in.jsonl").write_text('"one"\n{"prompt": "two", "top_p": 3}\n')
    code, out, err = program("in.jsonl", "-o", "out.jsonl", "-n", "2", "-q")
    assert (code, out) == (3, "")
    assert err == (
        "error: 1 of 2 rows failed; their records tell why\n"
        "hint: run them again with: hfgen batch in.jsonl -o out.jsonl -n 2 -q --retry-failed\n"
    )
    assert records("out.jsonl")[1]["error"]["type"] == "InvalidOption"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jsonl"], "no such file"),
        (["in.jsonl", "--json"], "standard output"),
        (["in.jsonl", "--resume"], "output that is a file"),
        (["in.jsonl", "-o", "x", "--resume", "--overwrite"], "contradict"),
        (["in.jsonl", "-o", "in.jsonl", "--overwrite"], "is the input"),
        (["in.jsonl", "-o", "none/x"], "no folder"),
        (["in.jsonl", "--slots", "0"], "--slots 0"),
        (["in.jsonl", "--on-bad-row", "x"], "--on-bad-row x"),
        (["in.jsonl", "-t", "-1"], "temperature"),
        (["empty.jsonl"], "no rows"),
        (["bad.jsonl"], "bad.jsonl:1: not valid JSON"),
        (["other.jsonl"], 'a row needs "prompt" or "messages"; it has question, answer'),
        (["in.jsonl", "-o", "old.jsonl", "--resume"], "run.json"),
    ],
)
def test_refused_before_a_model_is_loaded(program, monkeypatch, arguments, message) -> None:
    monkeypatch.setattr("hfgen.loading.load_model", None)
    Path("in.jsonl").write_text('"one"\n')
    Path("old.jsonl").write_text('"one"\n')
    Path("empty.jsonl").write_text("\n")
    Path("bad.jsonl").write_text("{\n")
    Path("other.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    code, out, err = program(*arguments)
    assert code in (1, 2)
    assert out == ""
    assert message in err.splitlines()[0]
    assert Path("in.jsonl").read_text() == '"one"\n'
    assert Path("old.jsonl").read_text() == '"one"\n'


def test_every_row_gets_a_record(program) -> None:
    rows = ['"one"', '{"prompt": null}', '{"prompt": ["a", "b"]}', '{"id": [1], "prompt": "x"}']
    Path("in.jsonl").write_text("\n".join([*rows, '{"prompt": "two", "stops": "."}']) + "\n")
    code, _, err = program("in.jsonl", "-o", "out.jsonl", "-n", "2")
    assert code == 3
    assert "notice: in.jsonl:5: the field stops is carried along" in err
    assert "error: 3 of 5 rows failed" in err
    found = records("out.jsonl")
    assert [r["index"] for r in found] == [0, 1, 2, 3, 4]
    assert ["error" in r for r in found] == [False, True, True, True, False]
    assert found[2]["input"] == {"prompt": ["a", "b"]}
    code, _, err = program("in.jsonl", "-o", "out.jsonl", "-n", "2", "--retry-failed")
    assert "3 of 5 rows failed" in err


def test_flag_names_at_the_top_of_a_row_count(program) -> None:
    rows = [{"prompt": "The king"}, {"prompt": "The king", "max_tokens": 3},
            {"prompt": "The king", "n": 2, "greedy": False}, {"prompt": "The king", "system": "S"},
            {"prompt": "The king", "stop": ["e"]}]  # fmt: skip
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert program("in.jsonl", "-o", "out.jsonl", "-n", "8", "--seed", "1", "-q")[0] == 3
    found = records("out.jsonl")
    assert [r.get("completion_tokens") for r in found[:2]] == [8, 3]
    assert [(r["index"], r["sample"]) for r in found[2:4]] == [(2, 0), (2, 1)]
    assert "system message" in found[4]["error"]["message"]
    assert found[5]["options"] == {"stop_strings": ["e"]}


def test_openai_rows_are_answered_in_openais_shape_and_resumed(program) -> None:
    row = {"url": "/v1/completions", "method": "POST", "body": {"prompt": "Once", "max_tokens": 3}}
    rows = [row | {"custom_id": f"r{i}"} for i in range(3)]
    rows[1] = rows[1] | {"body": {"prompt": "x", "suffix": "y"}}
    Path("in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert program("in.jsonl", "-o", "out.jsonl", "--seed", "1", "-q")[0] == 3
    whole = Path("out.jsonl").read_text()
    found = records("out.jsonl")
    assert [r["custom_id"] for r in found] == ["r0", "r1", "r2"]
    assert [r["response"]["status_code"] for r in found] == [200, 400, 200]
    assert found[0]["response"]["body"]["usage"]["completion_tokens"] == 3
    Path("out.jsonl").write_text(whole.splitlines(keepends=True)[0])
    code, out, _ = program("in.jsonl", "-o", "out.jsonl", "--resume", "-q", "--json")
    assert (code, json.loads(out)["skipped"]) == (3, 1)
    texts = [r["response"]["body"].get("choices") for r in records("out.jsonl")]
    assert texts == [r["response"]["body"].get("choices") for r in found]


def test_the_penalties_of_openai_rows_are_those_of_generate(program, lm_of) -> None:
    penalties = {"frequency_penalty": 1.5, "presence_penalty": 0.5}
    body = {"prompt": "The king", "max_tokens": 30, "temperature": 0} | penalties
    rows = [
        {"custom_id": "a", "url": "/v1/completions", "body": body},
        {"custom_id": "b", "url": "/v1/completions", "body": body | {"presence_penalty": 0}},
    ]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert program("in.jsonl", "-o", "out.jsonl", "-q")[0] == 0
    texts = [r["response"]["body"]["choices"][0]["text"] for r in records("out.jsonl")]
    options = {"max_new_tokens": 30, "do_sample": False}
    lm = lm_of("gpt2")
    assert texts[0] == lm.generate("The king", **options, **penalties).completion
    assert texts[1] == lm.generate("The king", **options, frequency_penalty=1.5).completion
    assert lm.generate("The king", **options).completion not in texts


def test_another_model_of_the_same_name_does_not_resume(program, lm_of, monkeypatch) -> None:
    Path("in.jsonl").write_text('"one"\n"two"\n')
    monkeypatch.setattr(type(lm_of("gpt2")), "fingerprint", lambda lm: "a" * 40)
    assert program("in.jsonl", "-o", "out.jsonl", "-n", "2", "-q")[0] == 0
    before = Path("out.jsonl").read_text()
    monkeypatch.setattr(type(lm_of("gpt2")), "fingerprint", lambda lm: "b" * 40)
    code, _, err = program("in.jsonl", "-o", "out.jsonl", "-n", "2", "--resume")
    assert code == 2
    assert f'out.jsonl has other settings: weights ("{"a" * 40}", now "{"b" * 40}")' in err
    assert Path("out.jsonl").read_text() == before


def test_a_stopped_run_of_standard_input_says_where_it_comes_from(tmp_path) -> None:
    (tmp_path / "in put.jsonl").write_text('"a"\n"b"\n' * 500)
    flags = ["-o", "out.jsonl", "-q", "-m", BUNDLED, "-n", "4"]
    with (tmp_path / "in put.jsonl").open() as stream:
        program = start(flags, tmp_path, stdin=stream, stderr=subprocess.PIPE)
    out = tmp_path / "out.jsonl"
    while not out.exists() or not out.stat().st_size:
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGTERM)
    _, err = program.communicate()
    (hint,) = [x for x in err.decode().splitlines() if x.startswith("hint: ")]
    command = hint.removeprefix("hint: send the same input again: hfgen ")
    assert command.endswith(f" --resume < '{tmp_path}/in put.jsonl'")
    line = f"{warm.program()} {command}"  # as it is typed
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment({}), check=False)
    assert done.returncode == 0
    assert [r["index"] for r in records(out)] == list(range(1000))


def start(arguments, folder, **streams):
    command = [warm.program(), "batch", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment({}), **streams)


def test_a_pipe_both_ways(tmp_path) -> None:
    pipe = subprocess.PIPE
    program = start(["--lines", "-n", "2", "-q", "-m", BUNDLED, "--seed", "1"], tmp_path,
                    stdin=pipe, stdout=pipe, stderr=pipe)  # fmt: skip
    with program:
        assert program.stdin and program.stdout and program.stderr
        # Each text comes before the next prompt is given: nothing waits for a full buffer.
        for index, text in enumerate(["Once", "The dog", "A cat"]):
            program.stdin.write(text.encode() + b"\n")
            program.stdin.flush()
            record = json.loads(program.stdout.readline())
            assert (record["index"], record["prompt"], record["seed"]) == (index, text, 1 + index)
        program.stdin.close()
        assert program.stdout.read() == program.stderr.read() == b""
        assert program.wait() == 0


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """2,000 rows, and the output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("many")
    chance = random.Random(3)
    with (folder / "in.jsonl").open("w") as stream:
        for index in range(2000):
            row = {"id": f"r{index}", "prompt": "Once upon a time " * chance.randint(1, 4),
                   "max_new_tokens": chance.randint(2, 12)}  # fmt: skip
            stream.write(json.dumps(row) + "\n")
    program = start([*ARGUMENTS, "-o", "whole.jsonl"], folder)
    assert program.wait() == 0
    return folder


ARGUMENTS = ["in.jsonl", "-q", "-m", BUNDLED, "--seed", "5", "--slots", "16"]


def texts(path):
    return [(r["index"], r["id"], r["text"]) for r in records(path)]


def written(out):
    """Bytes of an output and its parts."""
    found = 0
    for path in [out, *out.parent.glob(f"{out.name}.rank-*")]:
        with contextlib.suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def flips(one, other):
    return sum(a != b for a, b in zip(texts(one), texts(other), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_20_kills_lose_and_repeat_nothing(many, kind) -> None:
    out = many / f"killed-{int(kind)}.jsonl"
    chance = random.Random(int(kind))
    kills, mode = 0, []
    while kills < 20:
        size = written(out)
        program = start([*ARGUMENTS, "-o", out.name, *mode], many, stderr=subprocess.PIPE)
        rows = chance.randint(1, 40)
        while program.poll() is None and written(out) < size + 300 * rows:
            time.sleep(0.005)
        if program.poll() is not None:
            break
        time.sleep(chance.random() / 20)
        program.send_signal(kind)
        _, err = program.communicate()
        if kind == signal.SIGTERM and program.returncode:
            assert program.returncode == 143
            assert b"hint: resume with: hfgen batch in.jsonl" in err
        kills, mode = kills + 1, ["--resume"]
    assert kills == 20
    assert start([*ARGUMENTS, "-o", out.name, "--resume"], many).wait() == 0
    assert [r["index"] for r in records(out)] == list(range(2000))
    different = flips(many / "whole.jsonl", out)
    print(f"{different} of 2,000 texts differ")
    assert different <= 2  # near-ties of float32


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_share_the_rows_and_one_resumes_them(many) -> None:
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python")
    command = [sys.executable, *torchrun, sys.executable, "-m", "hfgen", "batch", *ARGUMENTS]
    env = environment({})
    done = subprocess.run([*command, "-o", "both.jsonl"], cwd=many, env=env, check=False)
    assert done.returncode == 0
    assert flips(many / "whole.jsonl", many / "both.jsonl") <= 2
    assert not list(many.glob("both.jsonl.rank-*"))
    program = subprocess.Popen([*command, "-o", "part.jsonl"], cwd=many, env=env)
    part = many / "part.jsonl.rank-1"
    while not part.exists() or part.stat().st_size < 30_000:
        assert program.poll() is None
        time.sleep(0.01)
    # torchrun gives each of its processes a session of its own.
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    program.kill()
    program.wait()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    time.sleep(0.5)
    assert not (many / "part.jsonl").exists()
    assert start([*ARGUMENTS, "-o", "part.jsonl", "--resume"], many).wait() == 0
    assert flips(many / "whole.jsonl", many / "part.jsonl") <= 2
