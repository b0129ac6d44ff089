"""Every accepted flag reaches the model; random command lines end as promised."""

from __future__ import annotations

import io
import json
import random
import sys

import pytest

from hfgen.cli.program.main import run
from hfgen.generation.options.options import SPECS, GenerationOptions
from hfgen.generation.records import Piece, Record


class Recorder:
    """A model that answers " ok" and notes what it was asked."""

    name = "recorder"
    notices = ()
    statistics = None
    is_chat = False
    window = 64

    def __init__(self):
        self.which = self.options = self.settings = None

    def load(self, which):
        self.which = which
        return self

    def stream(self, prompts, options, **settings):
        settings.pop("progress")
        self.options, self.settings = options, settings
        for index, prompt in enumerate(prompts):
            for sample in range(options.num_return_sequences or 1):
                record = Record(index, None, "m", prompt, " ok", "length", options.seed, 1, 1)
                yield Piece(index=index, sample=sample, text=" ok", record=record)


@pytest.fixture
def model(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr("hfgen.loading.load_model", recorder.load)
    monkeypatch.delenv("HFGEN_MODEL", raising=False)
    # run() sets what keeps the libraries quiet.
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    return recorder


# A valid value of each option, as typed and as GenerationOptions holds it, and what it needs.
VALUES = {
    "max_new_tokens": ("7", 7, []),
    "min_new_tokens": ("2", 2, []),
    "stop_strings": ("END, a=b", ("END, a=b",), []),
    "stop_token_ids": ("3,5", (3, 5), []),
    "max_time": ("1.5", 1.5, []),
    "overflow": ("slide", "slide", []),
    "temperature": ("1.25", 1.25, []),
    "top_k": ("40", 40, []),
    "top_p": ("0.5", 0.5, []),
    "min_p": ("0.05", 0.05, []),
    "typical_p": ("0.9", 0.9, []),
    "top_h": ("0.4", 0.4, []),
    "epsilon_cutoff": ("3e-4", 3e-4, []),
    "eta_cutoff": ("0.001", 0.001, []),
    "seed": ("123", 123, []),
    "num_return_sequences": ("3", 3, []),
    "repetition_penalty": ("1.1", 1.1, []),
    "frequency_penalty": ("-0.5", -0.5, []),
    "presence_penalty": ("1.5", 1.5, []),
    "no_repeat_ngram_size": ("3", 3, []),
    "bad_words": ("nope", ("nope",), []),
    "logit_bias": ("a=b=-1.5", (("a=b", -1.5),), []),
    "suppress_tokens": ("1,2", (1, 2), []),
    "exponential_decay_length_penalty": ("5,1.1", (5, 1.1), []),
    "num_beams": ("4", 4, []),
    "length_penalty": ("0.5", 0.5, ["--num-beams", "2"]),
    "early_stopping": ("never", "never", ["--num-beams", "2"]),
    "logprobs": ("2", 2, ["--format", "json"]),
    "json_schema": ('{"type": "integer"}', '{"type": "integer"}', []),
    "regex": ("[a-z]+", "[a-z]+", []),
    "choices": ("yes, no", ("yes", "no"), []),
    "grammar": ('start: "yes"', 'start: "yes"', []),
    "guidance_scale": ("1.5", 1.5, []),
    "negative_prompt": ("sad", "sad", ["--guidance-scale", "2"]),
    "prompt_lookup_num_tokens": ("5", 5, []),
    "assistant_model": ("distilgpt2", "distilgpt2", []),
    "num_assistant_tokens": ("4", 4, ["--assistant-model", "x"]),
    "num_assistant_tokens_schedule": ("constant", "constant", ["--assistant-model", "x"]),
    "assistant_confidence_threshold": ("0.3", 0.3, ["--assistant-model", "x"]),
    "max_matching_ngram_size": ("3", 3, ["--prompt-lookup-num-tokens", "5"]),
    "watermarking_config": ('{"bias": 3}', (("bias", 3.0),), ["--watermark"]),
    "min_length": ("4", 4, []),
    "begin_suppress_tokens": ("[1, 2]", (1, 2), []),
    "bad_words_ids": ("[[1, 2], [3]]", ((1, 2), (3,)), []),
    "sequence_bias": ("[[[1, 2], 0.5]]", (((1, 2), 0.5),), []),
    "forced_bos_token_id": ("1", 1, []),
    "forced_eos_token_id": ("2", 2, []),
    "eos_token_id": ("7", (7,), []),
    "encoder_repetition_penalty": ("1.2", 1.2, []),
    "encoder_no_repeat_ngram_size": ("2", 2, []),
    "renormalize_logits": ("true", True, []),
    "remove_invalid_values": ("true", True, []),
}


def test_the_table_above_is_complete():
    assert set(VALUES) | {"do_sample", "ignore_eos", "watermark"} == set(SPECS)


@pytest.mark.parametrize("name", VALUES)
def test_option_reaches_the_model_by_flag_and_by_set(model, capfd, name):
    typed, value, needs = VALUES[name]
    ways = [["-O", f"{name}={typed}"], ["--set", f"{name.replace('_', '-')}={typed}"]]
    if SPECS[name].has_flag:
        flags = ["--" + name.replace("_", "-"), *(f for f in SPECS[name].flags if f[0] == "-")]
        ways += [[flag, typed] for flag in flags]
        ways += [[f"{flag}={typed}"] for flag in flags if flag.startswith("--")]
    for way in ways:
        assert run(["generate", "x", *way, *needs]) == 0, capfd.readouterr().err
        assert model.options.given()[name] == value, way
        needed = {flag[2:].replace("-", "_") for flag in needs if flag.startswith("--")}
        extra = set(model.options.given()) - {name, "seed"} - needed
        assert not extra


def test_switches_reach_the_model(model):
    for way, name, value in [
        ("--greedy", "do_sample", False),
        ("--do-sample", "do_sample", True),
        ("--ignore-eos", "ignore_eos", True),
        ("--watermark", "watermark", True),
    ]:
        assert run(["generate", "x", way]) == 0
        assert model.options.given()[name] is value
    assert run(["generate", "x"]) == 0
    assert set(model.options.given()) == {"seed"}


def test_repeated_flags_add_up_where_they_are_lists_and_the_last_wins_elsewhere(model):
    flags = ["--stop", "a", "--stop", "b,c", "--suppress-tokens", "1", "--suppress-tokens", "2,3"]
    assert run(["generate", "x", *flags, "--top-k", "1", "--top-k", "2"]) == 0
    assert model.options.stop_strings == ("a", "b,c")
    assert model.options.suppress_tokens == (1, 2, 3)
    assert model.options.top_k == 2


def test_other_flags_reach_the_library(model, monkeypatch):
    assert run(
        ["generate", "x", "-m", "org/name@rev", "--device", "cuda:1", "--dtype", "bf16",
         "--offline", "--trust-remote-code", "--slots", "3", "--allow-special"]
    ) == 0  # fmt: skip
    which = model.which
    assert (which.name, which.device, which.dtype) == ("org/name@rev", "cuda:1", "bf16")
    assert (which.offline, which.trust_remote_code) == (True, True)
    assert model.settings == {"slots": 3, "allow_special": True, "raw": False, "system": None,
                              "chat_template": None}  # fmt: skip
    monkeypatch.setenv("HFGEN_MODEL", "from-environment")
    assert run(["generate", "x"]) == 0
    assert model.which.name == "from-environment"
    assert run(["generate", "x", "-m", "flag"]) == 0
    assert model.which.name == "flag"
    assert model.settings == {"slots": 16, "allow_special": False, "raw": False, "system": None,
                              "chat_template": None}  # fmt: skip


def test_seeds_are_drawn_anew_and_fit_32_bits(model):
    seeds = set()
    for _ in range(20):
        assert run(["generate", "x"]) == 0
        seeds.add(model.options.seed)
    assert len(seeds) == 20
    assert max(seeds) < 2**32


def _random_value(rng, name):
    if rng.random() < 0.4 and name in VALUES:
        return VALUES[name][0]
    return rng.choice(
        ["0", "1", "-1", "0.5", "1.5", "nan", "inf", "1e309", "", " ", "x", "true", "null", "[1]",
         "[[1]]", "{}", "9" * 40, "1,2", "1,", "a=1", "a=", "=", "\x1b[1m", "é你\u2028", "0x10",
         "١", "1_000", "--seed", "-", "never", "slide", "\x00"[:0], '"', "[" * 2000]
    )  # fmt: skip


def _random_command(rng, folder):
    command = ["generate"]
    texts = ["Once", "", "-", "--", "a\nb", "\x00"[:0], "<|endoftext|>", "x" * 5000, "\x1b]0;t\x07"]
    command += rng.sample(texts, rng.choice([0, 1, 1, 1, 2]))
    for _ in range(rng.choice([0, 1, 1, 2, 3, 5])):
        name = rng.choice(list(SPECS))
        how = rng.random()
        if how < 0.25:
            command += [rng.choice(["-O", "--set"]), f"{name}={_random_value(rng, name)}"]
        elif SPECS[name].kind == "bool" and how < 0.9:
            command += ["--" + name.replace("_", "-")]
        else:
            command += ["--" + name.replace("_", "-"), _random_value(rng, name)]
    others = [
        ["--lines"], ["-0"], ["--echo"], ["--no-echo"], ["--format", "json"], ["--format", "jsonl"],
        ["--format", "x"], ["--slots", "2"], ["--slots", "x"], ["-q"], ["-v"], ["--stats"],
        ["--greedy"], ["--overwrite"], ["--device", "cpu"], ["--device", "é"], ["-m", ""],
        ["-f", str(folder / "good")], ["-f", str(folder / "bad")], ["-f", str(folder)],
        ["-f", str(folder / "missing")], ["-f", "-"], ["-o", "-"], ["-o", str(folder)],
        ["-o", str(folder / "none" / "x")], ["-o", "/dev/full"], ["--help"], ["--nope"], ["-Z"],
    ]  # fmt: skip
    for extra in rng.sample(others, rng.choice([0, 0, 1, 1, 2, 3])):
        command += extra
    return command


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]
)
def test_random_command_lines_end_as_promised(model, capfd, monkeypatch, tmp_path, seed):
    rng = random.Random(seed)
    (tmp_path / "good").write_text("one\n\ntwo\nthree")
    (tmp_path / "bad").write_bytes(b"one\n\xff\xfe\n")
    codes = set()
    for _ in range(120):
        data = rng.choice([b"", b"text\n", b"a\0b\n\n", b"\xff", "é你\r\n".encode() * 50])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        command = _random_command(rng, tmp_path)
        code = run(command)
        out, err = capfd.readouterr()
        codes.add(code)
        shown = (command, code, out, err)
        lines = err.splitlines()
        if code == 0:
            assert all(line.startswith("notice: ") for line in lines), shown
            if "json" in command and not {"--", "--help", "jsonl"} & set(command):
                json.loads(out)
        else:
            assert code in (1, 2), shown
            assert [line.split(": ")[0] for line in lines[-2:]] == ["error", "hint"], shown
            assert "unexpected" not in err, shown
            assert all(line.startswith("notice: ") for line in lines[:-2]), shown
            # A bad row can only be met after good ones were written.
            assert out == "" or "not valid UTF-8" in err, shown
    assert codes >= {0, 2}


def test_command_line_is_read_into_the_same_options_as_python(model):
    assert run(["generate", "x", "-t", "0.5", "--stop", "a", "--seed", "9"]) == 0
    assert model.options == GenerationOptions(temperature=0.5, stop_strings="a", seed=9)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--device-map foo", "--device-map foo: must be auto"),
        ("--attn foo", "--attn foo: must be eager, sdpa, flash_attention_2"),
        ("--quantize 4", "--quantize 4: must be int8"),
        ("--dtype x", "--dtype x: must be auto, float32, bfloat16 or float16"),
    ],
)
def test_options_of_loading_are_refused_as_they_are_typed(model, capfd, typed, message):
    assert run(["generate", "x", *typed.split()]) == 2
    assert capfd.readouterr().err.startswith(f"error: {message}\n")
    assert model.which is None
