"""Which value counts: flag > --preset > environment > config file > model > hfgen's default.

Every case runs the command on a small model on disk, with files and variables as a user has them,
and looks at the request that reaches the engine.
"""

from __future__ import annotations

import json

import pytest

from hfgen.cli.program.main import run
from hfgen.errors import HfgenError
from hfgen.generation.engine import Engine
from hfgen.loading import load_model
from hfgen.models.checkpoint.load_options import LoadOptions

LEVELS = ("flag", "preset", "environment", "file", "model", "default")

# Each option's value at every level, strongest first; None where the level has no say. The last
# is what is in force when nobody says anything.
TABLE = {
    "temperature": (0.11, 0.22, 0.33, 0.44, 0.55, 0.8),
    "top_p": (0.91, 0.92, 0.93, 0.94, 0.96, 0.95),
    "top_k": (11, 12, 13, 14, 15, 0),
    "min_p": (0.01, 0.02, 0.03, 0.04, 0.05, None),
    "repetition_penalty": (1.1, 1.2, 1.3, 1.4, 1.5, None),
    "max_new_tokens": (11, 12, 13, 14, 15, 200),
    "min_new_tokens": (1, 2, 3, 4, 5, None),
    "no_repeat_ngram_size": (2, 3, 4, 5, 6, None),
    "do_sample": (False, True, False, True, False, True),
    "num_beams": (2, 3, 4, 5, None, 1),
    "device": ("cpu", None, "cuda", "mps", None, "auto"),
    "dtype": ("float16", None, "bfloat16", "float32", None, "auto"),
    "model": ("flag", None, "variable", "file", None, None),
    "slots": (3, None, 4, 5, None, 16),
    "offline": (False, None, True, False, None, False),
}
CASES = [
    (name, first)
    for name, values in TABLE.items()
    for first, value in enumerate(values)
    if value is not None or first == len(LEVELS) - 1
]


class Stop(HfgenError):
    """Enough was seen."""


@pytest.fixture(scope="module")
def model_folder(model_of, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model_of("gpt2").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def in_force(model_folder, monkeypatch, tmp_path):
    """Run the command and return everything that is in force."""
    seen = {}

    def load(which):
        seen.update(vars(which), model=which.name)
        return load_model(LoadOptions(str(model_folder), device="cpu", dtype="float32"))

    def submit(engine, request):
        seen.update(request.config.to_dict(), slots=engine.slots)
        raise Stop("seen")

    def search(model, tokenizer, request, **settings):
        seen.update(request.config.to_dict())
        raise Stop("seen")

    monkeypatch.setattr("hfgen.loading.load_model", load)
    monkeypatch.setattr(Engine, "submit", submit)
    monkeypatch.setattr("hfgen.generation.beams.run", search)
    monkeypatch.setattr("hfgen.cli.program.main._QUIET_LIBRARIES", {})
    monkeypatch.setenv("HFGEN_CONFIG_DIR", str(tmp_path))

    def call(flags=(), preset=None, environment=None, file=None, model=None):
        lines = [f"{name} = {_toml(value)}" for name, value in (file or {}).items()]
        lines += ["[presets.mine]"]
        lines += [f"{name} = {_toml(value)}" for name, value in (preset or {}).items()]
        (tmp_path / "config.toml").write_text("\n".join(lines))
        for name, value in (environment or {}).items():
            monkeypatch.setenv(f"HFGEN_{name.upper()}", str(value).lower())
        defaults = {"eos_token_id": 0, "do_sample": True} | (model or {})
        (model_folder / "generation_config.json").write_text(json.dumps(defaults))
        preset_flag = [] if preset is None else ["--preset", "mine"]
        assert run(["generate", "x", *preset_flag, *flags]) == 1
        return dict(seen)

    return call


def _toml(value):
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def _flag(name, value):
    if name == "do_sample":
        return ["--do-sample" if value else "--greedy"]
    if name == "offline":
        return ["--offline" if value else "--no-offline"]
    return [f"--{name.replace('_', '-')}", str(value)]


@pytest.mark.parametrize(
    ("name", "first"), CASES, ids=lambda v: v if isinstance(v, str) else LEVELS[v]
)
def test_the_strongest_level_that_has_a_value_counts(in_force, capfd, name, first):
    values = [None] * first + list(TABLE[name][first:])
    flag, preset, environment, file, model, default = values
    found = in_force(
        flags=[] if flag is None else _flag(name, flag),
        preset=None if preset is None else {name: preset},
        environment=None if environment is None else {name: environment},
        file=None if file is None else {name: file},
        model=None if model is None else {name: model},
    )
    assert "error: seen" in capfd.readouterr().err
    expected = next((value for value in values[:-1] if value is not None), default)
    if name == "max_new_tokens" and expected == default:
        # Not asked for by anyone: as much of the 200 as the window of 128 has room for.
        expected = 127
    if name in ("repetition_penalty", "min_p", "min_new_tokens", "no_repeat_ngram_size"):
        assert found[name] in ((expected,) if expected is not None else (None, 0, 1.0))
    else:
        assert found[name] == expected


CONTRADICTIONS = [
    # flags, environment, file -> what is in force
    (["--greedy"], {}, {"temperature": 0.5, "top_k": 7}, {"do_sample": False}),
    (["-t", "0.5"], {"do_sample": False}, {}, {"do_sample": True, "temperature": 0.5}),
    ([], {"temperature": 0}, {"top_k": 7}, {"do_sample": False}),
    (["--top-k", "7"], {"temperature": 0}, {}, {"do_sample": True, "top_k": 7}),
    (["--num-beams", "3"], {}, {"temperature": 0.5}, {"num_beams": 3, "do_sample": False}),
    (["--do-sample"], {"num_beams": 3}, {}, {"num_beams": 1, "do_sample": True}),
    (["-n", "5"], {}, {"min_new_tokens": 9}, {"max_new_tokens": 5}),
    # What the environment drops of the file does not come back, and nothing else is lost.
    ([], {"do_sample": False}, {"top_p": 0.5, "repetition_penalty": 1.5},
     {"do_sample": False, "repetition_penalty": 1.5}),
    # A level below the one that was dropped is heard.
    (["--do-sample"], {"do_sample": False}, {"top_p": 0.5}, {"do_sample": True, "top_p": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "environment", "file", "expected"), CONTRADICTIONS)
def test_a_stronger_level_decides_a_contradiction(in_force, flags, environment, file, expected):
    found = in_force(flags=flags, environment=environment, file=file)
    assert {name: found[name] for name in expected} == expected


def test_lists_are_replaced_and_not_added_to(in_force):
    both = in_force(flags=["--suppress-tokens", "7"], file={"suppress_tokens": [5, 6]})
    assert both["suppress_tokens"] == [7]
    assert in_force(file={"suppress_tokens": [5, 6]})["suppress_tokens"] == [5, 6]


def test_a_library_call_knows_no_settings(lm_of, monkeypatch, tmp_path):
    (tmp_path / "config.toml").write_text("max_new_tokens = 3\nwrong = 1\n")
    monkeypatch.setenv("HFGEN_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("HFGEN_MAX_NEW_TOKENS", "4")
    monkeypatch.setenv("HFGEN_TOP_P", "nonsense")
    record = lm_of("gpt2").generate("Once", seed=1, ignore_eos=True, max_new_tokens=6)
    assert record.completion_tokens == 6
    longer = lm_of("gpt2").generate("Once", seed=1, ignore_eos=True)
    assert longer.completion_tokens > 6
