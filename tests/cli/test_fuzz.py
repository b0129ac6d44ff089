"""Random command lines, prompts and damaged models, through the installed program.

Whatever a user types and whatever lies in a model's folder, a run ends with a promised status;
standard output holds results only; a failure is two lines, without a traceback. Each seed makes
the same runs every time, and a run that breaks a promise is shown as a command line for bash.
Inputs and model folders lie in pytest's temporary folder, which is kept after a failure.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from processes import environment

import hfgen.models
from hfgen.generation.options.options import SPECS

SEEDS, RUNS_PER_SEED = 10, 15
AT_ONCE = 2
LONGEST_RUN_S = 60

BUNDLED = Path(hfgen.models.__file__).parent / "bundled" / "storyteller"

# Errors that can only come to light after text was written.
LATE = re.compile(r"error: (prompt \d+: )?.*(scores for token [\d,]+ leave|not valid UTF-8)")

TEXTS = [
    "Once upon a time", "", " ", "\t", "\n\n", "-", "--", "--help", "-n", "<|endoftext|>",
    "<|endoftext|>" * 9, "a\r\nb", "\x1b[31mred\x07\x08", "👩‍👩‍👧‍👦", "שלום", "日本語",
    "\u2028", "\ufeff", "$(exit 3)", "'\"`\\", "%s %n {0}", "x" * 700, "word " * 3000,
    "\udcff", "é\udce9", "\x7f\x85",
]  # fmt: skip
INPUTS = [
    b"", b"\n", b"\0", b"\r\n", b"Once\n", b"one\ntwo\n\nthree", b"one\0two\0\0", b"\xff\xfe",
    b"good\n\xc3\n", b"\xef\xbb\xbf", b"\xef\xbb\xbfOnce\n", b"\x1b]0;x\x07\n", b"\0\1\2\3\n",
    b"<|endoftext|>\n" * 3, b"\xf0\x9f\x91\xa9" * 9, b"\xf0\x9f\x91", b"a" * 2_000_000,
    b"word \n" * 40, bytes(range(256)), b"%s\n{}\n$HOME\n",
]  # fmt: skip
WILD = [
    "", " ", "0", "-1", "1", "2", "7", "0.5", "1e-9", "1e30", "-1e30", "1e308", "nan", "inf",
    "9" * 30, "x", "true", "null", "[]", "[[]]", "[[1]]", "[[[1],2]]", "{}", "{", "1,2", ",", "3,",
    "a=1", "=", "a=nan", " a=-1e30", "é", "\x1b[1m", "0x10", "1_000", "١", "never", "-", "--seed",
    "[" * 3000, "\udcff", "4095", "4096", "1000000000", '{"a":1}', '"', "slide", "truncate",
]  # fmt: skip
EVERY_TOKEN = ",".join(map(str, range(4096)))
FLAGS = [
    ["--lines"], ["-0"], ["--echo"], ["--no-echo"], ["--format", "json"], ["--format", "jsonl"],
    ["--format", "jsonl", "--lines"], ["--greedy"], ["-q"], ["--slots", "1"], ["--slots", "3"],
    ["--slots", "0"], ["--allow-special"], ["--overwrite"], ["--offline"], ["--device", "cpu"],
    ["--device", "cuda:7"], ["--dtype", "bfloat16"], ["--dtype", "int8"], ["--nope"], ["-Z"],
    ["-m", ""], ["-m", "no/such"], ["-m", "/dev/null"], ["-m", "bert-base-uncased"], ["--help"],
    ["-o", "-"], ["-o", "/dev/full"], ["-o", "/"], ["-o", "no/folder"], ["-f", "-"], ["-f", "/"],
]  # fmt: skip
SURROUNDINGS = [
    {}, {}, {}, {"LC_ALL": "C"}, {"TERM": "dumb"}, {"COLUMNS": "7"}, {"HOME": "/nonexistent"},
    {"TMPDIR": "/nonexistent"}, {"PYTHONIOENCODING": "ascii"}, {"HF_HOME": "/dev/null"},
    {"HFGEN_MODEL": "storyteller"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"},
]  # fmt: skip


@dataclass
class Run:
    """One run of the program."""

    arguments: list[str]
    prompt: str | None = None
    """What the output must begin with, where there is one prompt that is echoed."""
    data: bytes | None = None
    surroundings: dict[str, str] = field(default_factory=dict)
    output: Path | None = None
    code: int | None = None
    out: str = ""
    err: str = ""
    line: str = ""

    def start(self, program, folder):
        """Run it in `folder`; `line` becomes what repeats it."""
        source = "/dev/null"
        if self.data is not None:
            path = folder / f"input-{zlib.crc32(self.data):x}"
            path.write_bytes(self.data)
            source = str(path)
        kept = {"HFGEN_CONFIG_DIR": os.environ["HFGEN_CONFIG_DIR"], "HF_HUB_OFFLINE": "1"}
        extra = kept | self.surroundings
        words = [f"{name}={quoted(value)}" for name, value in extra.items()]
        words += [program, *map(quoted, self.arguments)]
        self.line = f"cd {quoted(str(folder))}; {' '.join(words)} < {quoted(source)}"
        with Path(source).open("rb") as stream:
            done = subprocess.run(
                [program, *self.arguments],
                stdin=stream,
                capture_output=True,
                cwd=folder,
                env=environment(self.surroundings),
                timeout=LONGEST_RUN_S,
            )
        self.code, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()
        return self

    def broken_promises(self):
        """What is wrong with the way it ended."""
        lines = self.err.splitlines()
        ending = [line.split(": ")[0] for line in lines[-2:]]
        spoken = lines[:-2] if self.code else lines
        if self.code not in (0, 1, 2):
            yield f"exit status {self.code}"
        if "Traceback" in self.err or "error: unexpected" in self.err:
            yield "an error that is not explained"
        if self.code and ending != ["error", "hint"]:
            yield "a failure without its two lines"
        if any(not line.startswith("notice: ") for line in spoken):
            yield "noise on standard error"
        if self.code and self.out and not LATE.search(self.err):
            yield "a failure with results on standard output"
        if self.code == 0:
            yield from self._broken_results()

    def _broken_results(self):
        if self.output is not None and self.out:
            yield "results on standard output instead of the file"
        text = self.out
        if self.output is not None and self.output.exists():
            text = self.output.read_bytes().decode()
        if "--help" in self.arguments:
            return
        rows = []
        if "jsonl" in self.arguments:
            rows = [json.loads(line) for line in text.splitlines()]
        elif "json" in self.arguments:
            rows = json.loads(text)
            rows = rows if isinstance(rows, list) else [rows]
        elif self.prompt is not None and not text.startswith(self.prompt):
            yield "the prompt is not echoed as typed"
        for row in rows:
            if row["text"] != row["prompt"] + row["completion"]:
                yield f"a record that contradicts itself: {row}"
            if row["finish_reason"] not in ("stop", "length", "eos", "time"):
                yield f"a finish reason that is not promised: {row}"
            if self.prompt is not None and row["prompt"] != self.prompt:
                yield f"a record of another prompt: {row}"


def quoted(argument):
    """An argument as bash reads it, bytes that are no text included."""
    if argument.isascii() and argument.isprintable():
        return shlex.quote(argument)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(argument)) + "'"


def random_value(rng, name):
    """A value for an option: one that should be accepted, or any other."""
    spec = SPECS[name]
    good = {
        "int": ["0", "1", "2", "5"],
        "float": ["0.001", "0.3", "1", "1.5"],
        "bool": ["true", "false"],
        "choice": list(spec.choices),
        "ints": ["0", "1,2", "4095", EVERY_TOKEN],
        "strs": ["a", " ", "\n", "the", "é"],
        "biases": ["a=1", " the=-1e30", "b=1e30"],
        "pair": ["1,1.5", "0,100"],
        "json": ["[[1,2]]", "[[[1,2],0.5]]"],
    }
    return rng.choice(WILD if rng.random() < 0.15 else good.get(spec.kind) or WILD)


def random_options(rng, count):
    """`count` random options as flags or with -O."""
    arguments = ["-n", str(rng.choice([1, 2, 5, 12]))]
    for name in rng.sample([n for n in SPECS if n != "max_new_tokens"], count):
        flag, value = "--" + name.replace("_", "-"), random_value(rng, name)
        if not SPECS[name].has_flag or rng.random() < 0.2:
            arguments += ["-O", f"{name}={value}"]
        elif SPECS[name].kind == "bool":
            arguments.append(flag)
        else:
            arguments += [flag, value]
    return arguments


def random_command(rng, folder):
    """Any flags, prompts and inputs."""
    arguments = ["generate", "-m", "storyteller", *random_options(rng, rng.choice([0, 1, 2, 3]))]
    extra = [word for words in rng.sample(FLAGS, rng.choice([0, 0, 0, 1, 1, 2])) for word in words]
    run = Run([*arguments, *extra], surroundings=rng.choice(SURROUNDINGS))
    if rng.random() < 0.15:
        run.output = folder / f"out-{rng.getrandbits(40):x}"
        run.arguments += ["-o", str(run.output)]
    if rng.random() < 0.5:
        run.data = rng.choice(INPUTS)
    if rng.random() < 0.6:
        prompt = rng.choice(TEXTS)
        run.arguments += ["--", prompt]
        if prompt != "-" and "--no-echo" not in extra and not {"-f", "-m"} & set(extra):
            run.prompt = prompt
    return run


def random_model(rng, folder):
    """A prompt for a damaged copy of the bundled model."""
    model = folder / f"model-{rng.getrandbits(40):x}"
    shutil.copytree(BUNDLED, model)
    for _ in range(rng.choice([1, 1, 2])):
        names = sorted(path.name for path in model.iterdir() if path.is_file())
        rng.choice([truncate, overwrite, exchange, remove, edit_json, edit_json])(rng, model, names)
    return Run(["generate", "-m", str(model), "-n", "4", *random_options(rng, 1), "Once"])


def truncate(rng, model, names):
    path = model / rng.choice(names)
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size or 1)])


def overwrite(rng, model, names):
    path = model / rng.choice(names)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 20])):
        # The beginning holds the structure.
        place = rng.randrange(min(len(data), rng.choice([100, 10_000, 10_000_000])) or 1)
        data[place : place + 1] = rng.randbytes(1)
    path.write_bytes(data)


def exchange(rng, model, names):
    one, other = rng.choice(names), rng.choice(names)
    data = (model / one).read_bytes()
    (model / one).write_bytes((model / other).read_bytes())
    (model / other).write_bytes(data)


def remove(rng, model, names):
    path = model / rng.choice(names)
    path.unlink()
    if rng.random() < 0.3:
        path.mkdir()


def edit_json(rng, model, names):
    """Give one field of a JSON file another value.

    Of kinds of models, only those are tried whose default size does not fill the memory.
    """
    path = model / rng.choice(["config.json", "config.json", "generation_config.json",
                               "tokenizer_config.json", "tokenizer.json"])  # fmt: skip
    try:
        content = json.loads(path.read_bytes())
        name = rng.choice([*content, "eos_token_id", "dtype", "architectures", "temperature"])
    except (OSError, ValueError, TypeError):
        return
    values = [None, "x", -1, 0, 1, 3, 99_999, 0.5, [], [[]], {}, {"a": 1}, True]
    content[name] = rng.choice(["bert", "t5", "zzz"] if name == "model_type" else values)
    path.write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.timeout(SEEDS * RUNS_PER_SEED * LONGEST_RUN_S)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_run_ends_as_promised(hfgen_program, tmp_path, seed):
    rng = random.Random(seed)
    makers = [random_command] * 2 + [random_model]
    runs = [rng.choice(makers)(rng, tmp_path) for _ in range(RUNS_PER_SEED)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda run: run.start(hfgen_program, tmp_path), runs))
    broken = [
        f"{promise}\n{run.line}\n{run.code}\n{run.out[:500]!r}\n{run.err}"
        for run in done
        for promise in run.broken_promises()
    ]
    assert not broken, "\n".join(broken)
    assert {0} < {run.code for run in done}, "runs that all end alike test nothing"
