"""Settings: the file with its lines, the environment, presets, and careful changes."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import tomllib

import pytest

from hfgen.config_file import Document, config_path, parse, read_document, write_file
from hfgen.errors import ConfigError, DataError, HfgenError, OutputError, UsageError
from hfgen.generation.options.options import SPECS, GenerationOptions
from hfgen.setting_names import OPTIONS, REFUSED_SETTINGS, SETTINGS, key_of, read_arguments
from hfgen.settings import PRESETS, check_document, merge, read_environment, read_levels
from hfgen.toml_text import to_toml


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write the config file."""
    monkeypatch.setenv("HFGEN_CONFIG_DIR", str(tmp_path))
    path = tmp_path / "config.toml"

    def write(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


WRONG_FILES = [
    # content, line, message, hint
    ("temprature = 1", 1, "there is no setting 'temprature'", "did you mean temperature?"),
    ("# x\n\ntop-p = 0.5", 3, "there is no setting 'top-p'", "did you mean top_p?"),
    ('model = "a"\ntemperature = "hot"', 2, "temperature = 'hot': must be 0 or a num", "quotes"),
    ('temperature = "0.7"', 1, "temperature = '0.7': must be 0 or", "without quotes"),
    ("temperature = 1000", 1, "temperature = 1000: must be 0 or a number", "config edit"),
    ("temperature = nan", 1, "temperature = nan: must be", None),
    ("top_k = 1.5", 1, "top_k = 1.5: must be a whole number", None),
    ("top_k = true", 1, "top_k = True: must be a whole number", None),
    ("top_k = 2020-01-01", 1, "top_k = datetime.date(2020, 1, 1): must be a whole", None),
    ("do_sample = 1", 1, "do_sample = 1: must be true or false", None),
    ('overflow = "wrap"', 1, "overflow = 'wrap': must be error or truncate", None),
    ("model = 5", 1, "model = 5: must be a text", None),
    ('model = ""', 1, "model = '': must be a text", None),
    ('device = "gpu"', 1, "device = 'gpu': must be auto, cpu", "cuda:0"),
    ('dtype = "int3"', 1, "dtype = 'int3': must be auto, float32", None),
    ("slots = 0", 1, "slots = 0: must be a whole number from 1 to 1,024", None),
    ('offline = "true"', 1, "offline = 'true': must be true or false", "without quotes"),
    ("stop_strings = [\n 'a',\n '',\n]\n", 1, "stop_strings = ['a', '']: must be", None),
    ("x = [\n1]\nstop_token_ids = [-1]", 1, "there is no setting 'x'", None),
    ("seed = 1\nstop_token_ids = [\n\n-1]", 2, "stop_token_ids = [-1]: must be", None),
    ("trust_remote_code = true", 1, "trust_remote_code is no setting", "each time"),
    ('preset = "code"', 1, "preset is no setting", "--preset NAME"),
    ("logprobs = 2", 1, "logprobs is no setting", "--logprobs N"),
    ("use_cache = true", 1, "use_cache cannot be set: ", "drop use_cache"),
    ("[generation]\ntop_k = 1", 1, "there is no setting 'generation'", None),
    # Contradictions within the file
    ("seed = 1\ndo_sample = false\ntop_k = 5", 3, "top_k has no effect on greedy", "drop top_k"),
    ("length_penalty = 0.5", 1, "length_penalty has no effect without be", "add num_beams = 4"),
    (
        "max_new_tokens = 3\nmin_new_tokens = 9",
        2,
        "min_new_tokens 9 is more than max_",
        "raise max",
    ),
    # Presets
    ("\n[[presets]] # x\ntop_k = 1", 2, "presets is no table", "[presets.NAME]"),
    ("sequence_bias = [\n  [[1], 2.5],\n]\ntop_k = -1", 4, "top_k = -1: must be", None),
    ("stop_token_ids = [\n" + "1" * 99 + ",\n-1]\n", 1, "stop_token_ids = [1111", None),
    ("[ presets . 'mine' ]\ntop_k = -1", 2, "top_k = -1: must be", None),
    ("bad_words = [\n['a'],\n]\ntop_k = 1.5", 1, "bad_words = [['a']]: must be", None),
    ("presets = 5", 1, "presets is no table", "[presets.NAME]"),
    ("[presets]\nmine = 5", 2, "presets.mine is no table", "[presets.mine]"),
    ("[presets.mine]\ntop_k = 1\ntopp = 1", 3, "there is no setting 'topp'", "did you mean top_p?"),
    ("[presets.mine]\n\nmodel = 'x'", 3, "model is no part of a preset", "generation options only"),
    ("[presets.a]\ntop_k = 1\n[presets.b]\ntop_k = -1", 4, "top_k = -1: must be", None),
    ("presets.a = { top_k = -1 }", 1, "top_k = -1: must be", None),
    ("[presets.a]\ntemperature = 0\ntop_k = 1", 3, "top_k has no effect on greedy", "drop top_k"),
    # No TOML
    ("temperature = \n", 1, "not valid TOML: Invalid value", "hfgen config edit"),
    ("seed = 1\nseed = 2\n", 2, "not valid TOML: Cannot overwrite a value", None),
    ("a = 1\r\nb\r\n", 2, "not valid TOML: Expected '='", None),
    ("stop_strings = ['a'\n\n", 1, "not valid TOML: ", None),
    ("x = " + "[" * 5000, 1, "not valid TOML: too deep", None),
    (b"model = 'a'\nmodel = '\xff'", 2, "not valid UTF-8", None),
]


@pytest.mark.parametrize(
    ("content", "line", "message", "hint"), WRONG_FILES, ids=lambda v: str(v)[:30]
)
def test_wrong_file(config, content, line, message, hint):
    path = config(content)
    with pytest.raises(ConfigError) as caught:
        read_levels()
    assert caught.value.message.startswith(f"{path}:{line}: {message}")
    assert caught.value.exit_code == 2
    assert caught.value.hint and (hint is None or hint in caught.value.hint)


def test_a_file_is_read_with_byte_order_mark_windows_lines_and_every_form_of_toml(config):
    config(b'\xef\xbb\xbfmodel = "m"\r\ntop_k = 40\r\nlogit_bias = { cat = 1 }\r\n'
           b"[presets.a]\r\nstop_strings = '''\r\nx'''\r\n")  # fmt: skip
    merged = merge(GenerationOptions(), read_levels("a"))
    assert merged.others == {"model": "m"}
    assert merged.options == GenerationOptions(
        top_k=40, logit_bias=[("cat", 1)], stop_strings=["x"]
    )
    assert merged.origins["stop_strings"].place == f"{config_path()}:5"


WRONG_VARIABLES = [
    ("HFGEN_TEMPERATURE", "hot", "HFGEN_TEMPERATURE=hot: must be 0 or a number", "another"),
    ("HFGEN_TOP_P", "1.5", "HFGEN_TOP_P=1.5: must be a number above 0", None),
    ("HFGEN_DO_SAMPLE", "maybe", "HFGEN_DO_SAMPLE=maybe: must be true or false", None),
    ("HFGEN_DEVICE", "gpu", "HFGEN_DEVICE=gpu: must be auto, cpu", "cuda:0"),
    ("HFGEN_SLOTS", "x" * 99, "HFGEN_SLOTS=" + "x" * 59 + "…: must be a whole", None),
    ("HFGEN_OFFLINE", "2", "HFGEN_OFFLINE=2: must be true or false", None),
    ("HFGEN_TEMPRATURE", "1", "HFGEN_TEMPRATURE is no setting", "did you mean HFGEN_TEMPERATURE?"),
    ("HFGEN_STOP_STRINGS", "x", "HFGEN_STOP_STRINGS is not read", "config set stop_strings"),
    ("HFGEN_TRUST_REMOTE_CODE", "1", "HFGEN_TRUST_REMOTE_CODE is not read", "each time"),
    ("HFGEN_PRESET", "code", "HFGEN_PRESET is not read", "--preset NAME"),
    ("HFGEN_LENGTH_PENALTY", "1", "HFGEN_LENGTH_PENALTY has no effect without beams",
     "add HFGEN_NUM_BEAMS=4"),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "value", "message", "hint"), WRONG_VARIABLES)
def test_wrong_variable(config, monkeypatch, variable, value, message, hint):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        read_levels()
    assert caught.value.message.startswith(message)
    assert hint is None or hint in caught.value.hint


def test_variables_that_are_no_business_of_ours_and_empty_ones(config, monkeypatch):
    monkeypatch.setenv("HFGEN_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("HFGEN_CACHE_DIR", "/x")
    monkeypatch.setenv("HFGEN_TEMPERATURE", "")
    assert read_environment().origins == {}


def test_words_of_switches(config, monkeypatch):
    for text, value in [("1", True), ("0", False), ("yes", True), ("off", False), ("TRUE", True)]:
        monkeypatch.setenv("HFGEN_OFFLINE", text)
        monkeypatch.setenv("HFGEN_IGNORE_EOS", text)
        level = read_environment()
        assert (level.others["offline"], level.options.ignore_eos) == (value, value)


def test_every_option_is_a_setting_or_refused():
    assert set(SPECS) <= set(SETTINGS) | set(REFUSED_SETTINGS)
    variables = [setting.variable for setting in SETTINGS.values() if setting.variable]
    assert {"HFGEN_MODEL", "HFGEN_TOP_P", "HFGEN_MAX_NEW_TOKENS", "HFGEN_DTYPE"} <= set(variables)
    assert len(set(variables)) == len(variables)


def test_the_builtin_presets_are_options_with_a_reason():
    for name, preset in PRESETS.items():
        assert name.isidentifier() and preset.reason
        assert set(preset.values) <= set(OPTIONS)
        assert GenerationOptions(**preset.values).given() == preset.values
    balanced = GenerationOptions(**PRESETS["balanced"].values)
    assert balanced.resolve({"top_k": 50}) == GenerationOptions().resolve()


def test_presets_of_the_user_go_before_builtin_ones(config):
    config("[presets.code]\ntop_k = 3\n[presets.empty]\n")
    assert merge(GenerationOptions(), read_levels("code")).options == GenerationOptions(top_k=3)
    assert merge(GenerationOptions(), read_levels("empty")).options == GenerationOptions()
    precise = merge(GenerationOptions(top_p=0.5), read_levels("precise"))
    assert precise.options == GenerationOptions(temperature=0.3, top_p=0.5)
    assert precise.origins["temperature"].place == "preset precise"
    for wrong, hint in [("cod", "did you mean code?"), ("", "there are code, empty, precise")]:
        with pytest.raises(UsageError, match="there is no preset of that name") as caught:
            read_levels(wrong)
        assert hint in caught.value.hint


def test_where_the_file_is(monkeypatch, tmp_path):
    monkeypatch.delenv("HFGEN_CONFIG", raising=False)
    monkeypatch.delenv("HFGEN_CONFIG_DIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert config_path() == tmp_path / "hfgen" / "config.toml"
    monkeypatch.setenv("HFGEN_CONFIG_DIR", str(tmp_path / "other"))
    assert config_path() == tmp_path / "other" / "config.toml"
    monkeypatch.setenv("HFGEN_CONFIG", str(tmp_path / "my.toml"))
    assert config_path() == tmp_path / "my.toml"
    with pytest.raises(DataError, match=r"there is no config file .*my\.toml, which HFGEN_CONFIG"):
        read_document()
    monkeypatch.setenv("HFGEN_CONFIG", os.devnull)
    assert read_document().values == {}
    monkeypatch.setenv("HFGEN_CONFIG", str(tmp_path))
    with pytest.raises(DataError, match="cannot read the config file"):
        read_document()


# Changes: the rest of the file stays as it is.

FILE = """\
# My settings

model = "gpt2"   # the small one
 temperature=0.7# warm
stop_strings = [ # two
  "a=b#c", "]",
] # done
presets.dotted.top_k = 3

# Mine
[presets.mine] # my own
top_p = 0.9

[presets."odd one"]
"a=b" = 1
"""

CHANGES = [
    # key, value, lines that go, lines that come
    ("model", "x # y", ['model = "gpt2"   # the small one'],
     ['model = "x # y"   # the small one']),
    ("temperature", 1, [" temperature=0.7# warm"], [" temperature=1# warm"]),
    ("stop_strings", ["é\x7f\n"], ["stop_strings = [ # two", '  "a=b#c", "]",', "] # done"],
     ['stop_strings = ["é\\u007f\\n"] # done']),
    ("top_k", 40, [], ["top_k = 40"]),
    ("presets.mine.top_p", 0.5, ["top_p = 0.9"], ["top_p = 0.5"]),
    ("presets.mine.top_k", 5, [], ["top_k = 5"]),
    ("presets.dotted.top_k", 5, ["presets.dotted.top_k = 3"], ["presets.dotted.top_k = 5"]),
    ("presets.dotted.top_p", 0.5, [], ["presets.dotted.top_p = 0.5"]),
    ("presets.new.top_p", 0.5, [], ["", "[presets.new]", "top_p = 0.5"]),
]  # fmt: skip


def difference(before, after):
    """The lines that are gone, and those that came."""
    lines = list(difflib.ndiff(before.text.splitlines(), after.text.splitlines()))
    return [[x[2:] for x in lines if x.startswith(sign)] for sign in "-+"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(("name", "value", "gone", "come"), CHANGES)
def test_a_change_keeps_every_other_line(tmp_path, name, value, gone, come, line_end):
    data = b"\xef\xbb\xbf" + FILE.replace("\n", line_end).encode()
    before = parse(tmp_path / "c.toml", data)
    changed = before.replaced(tuple(name.split(".")), value)
    assert difference(before, changed) == [gone, come]
    changed.write()
    written = (tmp_path / "c.toml").read_bytes()
    assert written.startswith(b"\xef\xbb\xbf")
    assert written.count(b"\r") == (written.count(b"\n") if line_end == "\r\n" else 0)
    again = parse(tmp_path / "c.toml", written).values
    for part in name.split("."):
        again = again[part]
    assert again == value


REMOVALS = [
    ("model", ['model = "gpt2"   # the small one']),
    ("stop_strings", ["stop_strings = [ # two", '  "a=b#c", "]",', "] # done"]),
    ("presets.mine", ["[presets.mine] # my own", "top_p = 0.9"]),
    ("presets.mine.top_p", ["top_p = 0.9"]),
    ("presets.dotted", ["presets.dotted.top_k = 3"]),
]


@pytest.mark.parametrize(("name", "gone"), REMOVALS)
def test_a_removal_keeps_every_other_line(tmp_path, name, gone):
    before = Document(tmp_path / "c.toml", FILE)
    changed = before.removed(tuple(name.split(".")))
    assert difference(before, changed) == [gone, []]


def test_what_is_not_there_cannot_be_removed(tmp_path):
    document = Document(tmp_path / "c.toml", FILE)
    assert document.removed(("seed",)) is None
    assert document.removed(("presets", "none")) is None
    assert document.removed(("model", "x")) is None


def test_set_then_unset_gives_the_old_file(tmp_path):
    document = Document(tmp_path / "c.toml", FILE)
    for name in ("seed", "presets.mine.seed", "presets.dotted.seed"):
        key = tuple(name.split("."))
        again = document.replaced(key, 5).removed(key)
        assert again.text.replace("\n", "") == FILE.replace("\n", "")


def test_the_first_key_goes_before_the_first_table_and_its_comment(tmp_path):
    document = Document(tmp_path / "c.toml", "# All\n\n# Mine\n[presets.a]\ntop_k = 1\n")
    assert document.replaced(("seed",), 1).text == (
        "# All\n\nseed = 1\n\n# Mine\n[presets.a]\ntop_k = 1\n"
    )
    assert Document(tmp_path / "c.toml", "").replaced(("seed",), 1).text == "seed = 1\n"
    assert Document(tmp_path / "c.toml", "# x").replaced(("seed",), 1).text == "# x\nseed = 1\n"


def test_an_inline_table_is_changed_in_its_place(tmp_path):
    document = Document(tmp_path / "c.toml", "presets.a = {top_k = 1, top_p = 0.5} # mine\n")
    changed = document.replaced(("presets", "a", "top_k"), 2)
    assert changed.text == "presets.a = {top_k = 2, top_p = 0.5} # mine\n"
    assert document.removed(("presets", "a")).text == ""
    assert document.replaced(("presets", "a", "seed"), 2).values["presets"]["a"] == {
        "top_k": 1, "top_p": 0.5, "seed": 2
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"c\.toml:1: presets\.a\.top_k is no table"):
        document.replaced(("presets", "a", "top_k", "x"), 2)
    with pytest.raises(ConfigError, match=r"c\.toml:1: .*cannot be changed"):
        document.removed(("presets", "a", "top_p"))


def test_the_comment_above_a_table_stays_with_it(tmp_path):
    text = "[presets.a]\ntop_k = 1\n# more of a\n\n# Of b\n[presets.b]\ntop_p = 0.5\n"
    document = Document(tmp_path / "c.toml", text)
    assert document.replaced(("presets", "a", "seed"), 1).text == text.replace(
        "top_k = 1\n", "top_k = 1\nseed = 1\n"
    )
    assert document.removed(("presets", "a")).text == (
        "# more of a\n\n# Of b\n[presets.b]\ntop_p = 0.5\n"
    )
    assert document.removed(("presets", "b")).text == (
        "[presets.a]\ntop_k = 1\n# more of a\n\n# Of b\n"
    )
    empty = Document(tmp_path / "c.toml", "[presets.a]\n\n# Of b\n[presets.b]\ntop_k = 1\n")
    assert empty.replaced(("presets", "a", "seed"), 1).text == (
        "[presets.a]\nseed = 1\n\n# Of b\n[presets.b]\ntop_k = 1\n"
    )


def test_values_as_toml_and_back():
    assert to_toml({"bias": 2.5, "seed": 1}) == "{bias = 2.5, seed = 1}"
    for value in [True, -5, 0.1, 1e-300, 1e22, "", "\\\"'\x00\x1b\x7f\u2028é😀\r\n\t", [1, [2]],
                  {"a b": 1, "é": {"x": [True]}}, (1, 2.5)]:  # fmt: skip
        back = tomllib.loads(f"x = {to_toml(value)}")["x"]
        assert back == (list(value) if isinstance(value, tuple) else value)
    with pytest.raises(TypeError):
        to_toml(None)


def test_a_value_read_from_arguments_is_what_the_file_gives_back(tmp_path):
    for name, texts in {
        "temperature": ["0.5"], "top_k": ["40"], "do_sample": ["no"], "early_stopping": ["never"],
        "stop_strings": ["5", "a b"], "stop_token_ids": ["1,2", "3"], "logit_bias": ["a=b=-1.5"],
        "exponential_decay_length_penalty": ["5,1.1"], "sequence_bias": ["[[[1, 2], 0.5]]"],
        "bad_words": ['["a", "b"]'], "watermarking_config": ['{"bias": 2.5}'],
    }.items():  # fmt: skip
        value = read_arguments(name, texts)
        document = Document(tmp_path / "c.toml", "").replaced((name,), value)
        assert SETTINGS[name].read_typed(document.values[name]) == value, name


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        ("temperature", ["hot"], "temperature hot: must be 0 or a number"),
        ("temperature", ["0.5", "1"], "temperature takes one value, not 2"),
        ("device", ["gpu"], "device gpu: must be auto"),
        ("stop_strings", [""], 'stop_strings "": must be'),
        ("stop_strings", ["[1"], "stop_strings [1: must be"),
        ("model", [""], 'model "": must be a text'),
    ],
)
def test_wrong_arguments(name, texts, message):
    with pytest.raises(UsageError) as caught:
        read_arguments(name, texts)
    assert caught.value.message.startswith(message)


def test_names_as_typed():
    assert key_of("top-p") == ("top_p",)
    assert key_of("presets.my-own.top-p") == ("presets", "my-own", "top_p")
    for wrong, message in [
        ("presets.x", "no setting"),
        ("a.b.c", "no setting"),
        ("tempratur", "no setting"),
        ("presets.x.model", "no part of a preset"),
    ]:
        with pytest.raises(UsageError, match=message):
            key_of(wrong)


# Writing


def test_writing_goes_through_a_link_and_keeps_the_mode(tmp_path):
    real = tmp_path / "dotfiles" / "hfgen.toml"
    write_file(real, b"old")
    real.chmod(0o640)
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    write_file(link, b"new")
    assert link.is_symlink() and real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in real.parent.iterdir()] == ["hfgen.toml"]
    with pytest.raises(OutputError, match="no regular file"):
        write_file(tmp_path, b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_no_space_leaves_the_old_file(config):
    path = config("seed = 1\n")
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4));"
        "from hfgen.cli.program.main import run; "
        "raise SystemExit(run(['config', 'set', 'seed', '22']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot write the config file {path}: File too large\n")
    assert path.read_text() == "seed = 1\n"
    assert [p.name for p in path.parent.iterdir()] == ["config.toml"]


def test_checking_says_nothing_of_a_right_file(tmp_path):
    assert check_document(Document(tmp_path / "x", "seed = 5\n")).options.seed == 5
    assert isinstance(ConfigError("x"), HfgenError)
