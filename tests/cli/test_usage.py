"""Wrong command lines: two lines, status 2, nothing on standard output, no model loaded."""

from __future__ import annotations

import pytest

from hfgen.generation.options.options import SPECS

WRONG = [
    (["genrate"], "there is no command 'genrate'", "did you mean hfgen generate?"),
    (["Once upon a"], "there is no command 'Once upon a'", "text: hfgen generate 'Once upon a'"),
    (["Hello", "-n", "5"], "there is no command 'Hello'", "text: hfgen generate Hello -n 5"),
    (["-m", "gpt2", "a b"], "the command is missing", "hint: hfgen generate -m gpt2 'a b'"),
    (["-m", "x", "bench"], "the command is missing", "hint: hfgen bench -m x"),
    (["train", "a.jsonl"], "there is no command 'train'", "hfgen finetune DATA"),
    (["help", "genrate"], "there is no command 'genrate'", "did you mean hfgen generate?"),
    (["--nope"], "there is no option --nope", "hfgen --help"),
    (["generate", "x", "--tempratur", "1"], "there is no option --tempratur", "--temperature"),
    (["generate", "-5 degrees"], "-5 degrees begins with a dash", "generate -- '-5 degrees'"),
    (["generate", "--so it goes"], "--so it goes begins with a dash", "-- '--so it goes'"),
    (["generate", "- one", "-q"], "- one begins with a dash", "hfgen generate -- '- one'"),
    (["generate", "-o is it"], "-o is it begins with a dash", "hfgen generate -- '-o is it'"),
    (["config", "set", "top_p", "-1"], "-1 begins with a dash", "put -- before it: -- -1"),
    (["generate", "x", "-output", "y"], "there is no option -output", "did you mean --output?"),
    (["generate", "x", "-max_tokens=5"], "there is no option -max_tokens", "--max-new-tokens?"),
    (["generate", "x", "-o", "-q"], "-o needs a value, and -q is a flag", "value: --output=-q"),
    (["generate", "x", "--stop", "--"], "--stop needs a value, and -- is", "--stop-strings=--"),
    (["generate", "x", "-o", "temperature", "0.7"], "-o temperature names an output",
     "write --temperature 0.7; for an output of that name -o ./temperature"),
    (["generate", "x", "—temp", "1"], "—temp begins with a long dash", "write --temperature"),
    (["generate", "x", "–n", "1"], "–n begins with a long dash", "write -n"),
    (["generate", "x", "top_k=5"], "top_k=5 is no part of a prompt", "write --top-k=5, or quote"),
    (["generate", "x", "--format=json", "--json=1"], "--json takes no value: 1", "--json alone"),
    (["generate", "x", "--text_lines=1"], "--text_lines takes no value: 1", "--text_lines alone"),
    (["generate", "x", "--no_echo=on"], "--no_echo takes no value: on", "write --no_echo alone"),
    (["generate", "x", "--top-k"], "option '--top-k' requires an argument", "hfgen generate --h"),
    (["generate", "x", "--lines=yes"], "--lines takes no value: yes", "write --lines alone"),
    (["generate", "x", "--do-sample=false"], "--do-sample takes no value: false", "--greedy"),
    (["generate", "x", "--top-p", "1.5"], "--top-p 1.5: must be a number above 0", None),
    (["generate", "x", "-t", "-1"], "--temperature -1: must be 0 or a number", None),
    (["generate", "x", "-t", "warm"], "--temperature warm: must be 0 or a number", None),
    (["generate", "x", "-t", "nan"], "--temperature nan: must be 0 or a number", None),
    (["generate", "x", "-n", "0"], "--max-new-tokens 0: must be a whole number from 1", None),
    (["generate", "x", "-n", "1.5"], "--max-new-tokens 1.5: must be a whole number", None),
    (["generate", "x", "-n", ""], '--max-new-tokens "": must be a whole number', None),
    (["generate", "x", "--seed", "-1"], "--seed -1: must be", None),
    (["generate", "x", "--stop", ""], '--stop-strings "": must be a text', None),
    (["generate", "x", "--logit-bias", "cat"], "--logit-bias cat: must be TEXT=NUMBER", None),
    (["generate", "x", "--overflow", "wrap"], "--overflow wrap: must be error or tr", None),
    (["generate", "x", "--greedy", "--top-k", "5"], "--top-k has no effect on greedy", None),
    (["generate", "x", "--min-new-tokens", "9", "-n", "3"], "--min-new-tokens 9 is more", None),
    (["generate", "x", "-O", "top_k"], "-O top_k: not NAME=VALUE", "-O renormalize_logits=true"),
    (["generate", "x", "-O", "topk=3"], "unknown option 'topk'", "did you mean top_k?"),
    (["generate", "x", "-O", "use_cache=true"], "use_cache cannot be set: ", "drop use_cache"),
    (["generate", "x", "-O", "top_k=-1"], "-O top_k=-1: must be a whole number from 0", None),
    (["generate", "x", "--top-k", "3", "-O", "top_k=4"], "top_k is set twice", "drop one"),
    (["generate", "x", "-O", "top_k=3", "-O", "top_k=4"], "top_k is set twice", "drop one"),
    (["generate", "x", "--format", "xml"], "--format xml: must be text or json or jsonl", None),
    (["generate", "x", "--slots", "0"], "--slots 0: must be a whole number from 1", None),
    (["generate", "x", "--slots", "many"], "--slots many: must be a whole number", None),
    (["generate", "x", "--device", "gpu"], "--device gpu: must be auto, cpu", "cuda:0"),
    (["generate", "x", "--dtype", "int3"], "--dtype int3: must be auto, float32", None),
    (["generate", "x", "--logprobs", "2"], "--logprobs has no place in text", "--format json"),
    (["generate", "x", "--format", "json", "--no-echo"], "--no-echo has no effect on", "jq"),
    (["generate", "x", "--overwrite"], "--overwrite has no effect without --output", "-o FILE"),
    (["generate", "x", "-f", "prompt.txt"], "a prompt is given twice", "drop one"),
    (["generate", "x", "--lines"], "--lines reads prompts from standard input", "printf"),
    (["generate", "x", "-0", "--format", "json"], "--null has no effect here", "drop --null"),
    (["generate", "-", "and", "-"], "standard input (-) can be read once only", None),
    (["generate", "x", "-q", "-v"], "--quiet leaves errors only, --verbose asks", "drop one"),
    (["generate", "x", "-q", "--stats"], "--quiet leaves errors only, --stats asks", "drop one"),
    (["generate"], "standard input is empty", 'hfgen generate ""'),
    (["generate", "--lines"], "standard input holds no prompts", "one on each line"),
    (["generate", "-f", ""], "--file needs a file name", None),
    (["generate", "x", "-o", ""], "--output needs a file name", None),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message", "hint"), WRONG, ids=lambda v: str(v)[:40])
def test_wrong_usage(refused, arguments, message, hint):
    refused(*arguments).assert_error(2, message, hint)


def test_every_flag_refuses_nonsense_by_its_own_name(refused):
    for name, spec in SPECS.items():
        if spec.kind in ("int", "float", "pair", "ints") and spec.has_flag:
            flag = "--" + name.replace("_", "-")
            refused("generate", "x", flag, "nonsense").assert_error(2, f"{flag} nonsense: must be")


def test_control_characters_and_length_of_a_bad_value_stay_out_of_the_message(refused):
    result = refused("generate", "x", "--top-k", "\x1b[31m\n\r\x85 " + "9" * 5000)
    result.assert_error(2, "--top-k ␛[31m")
    assert len(result.err) < 400


def test_debug_shows_the_traceback_before_the_two_lines(refused):
    result = refused("generate", "x", "--top-k", "-1", "--debug")
    assert result.err.startswith("Traceback (most recent call last):\n")
    assert result.err.splitlines()[-2].startswith("error: --top-k -1")
    assert result.code == 2


def test_argument_that_is_not_utf8(refused):
    refused("generate", b"caf\xe9").assert_error(1, "is not valid UTF-8", "-f FILE")


def test_arguments_are_utf8_also_where_the_locale_is_not(fake):
    result = fake("generate", "naïve 你好", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert result.out == "naïve 你好 there was a fox.\n"
    result = fake("generate", "naïve 你好", LC_ALL="C", PYTHONIOENCODING="latin1")
    assert result.out == "naïve 你好 there was a fox.\n"
