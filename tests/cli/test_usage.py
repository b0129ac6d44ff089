"""Wrong command lines: two lines, status 2, nothing on standard output, no model loaded."""

from __future__ import annotations

import pytest

from hfgen.generation.options import SPECS

WRONG = [
    (["genrate"], "there is no command 'genrate'", "did you mean hfgen generate?"),
    (["Once upon a time"], "there is no command 'Once upon a time'", "hfgen generate TEXT"),
    (["--nope"], "there is no option --nope", "hfgen --help"),
    (["generate", "x", "--tempratur", "1"], "there is no option --tempratur", "--temperature"),
    (["generate", "-5 degrees"], "there is no option -5", "-- before a prompt"),
    (["generate", "x", "--top-k"], "option '--top-k' requires an argument", "hfgen generate --h"),
    (["generate", "x", "--lines=yes"], "option '--lines' does not take a value", None),
    (["generate", "x", "--top-p", "1.5"], "--top-p 1.5: allowed is a number above 0", None),
    (["generate", "x", "-t", "-1"], "--temperature -1: allowed is 0 or a number", None),
    (["generate", "x", "-t", "warm"], "--temperature warm: allowed is 0 or a number", None),
    (["generate", "x", "-t", "nan"], "--temperature nan: allowed is 0 or a number", None),
    (["generate", "x", "-n", "0"], "--max-new-tokens 0: allowed is a whole number from 1", None),
    (["generate", "x", "-n", "1.5"], "--max-new-tokens 1.5: allowed is a whole number", None),
    (["generate", "x", "-n", ""], '--max-new-tokens "": allowed is a whole number', None),
    (["generate", "x", "--seed", "-1"], "--seed -1: allowed is", None),
    (["generate", "x", "--stop", ""], '--stop-strings "": allowed is a text', None),
    (["generate", "x", "--logit-bias", "cat"], "--logit-bias cat: allowed is TEXT=NUMBER", None),
    (["generate", "x", "--overflow", "wrap"], "--overflow wrap: allowed is error or tr", None),
    (["generate", "x", "--greedy", "--top-k", "5"], "--top-k has no effect on greedy", None),
    (["generate", "x", "--min-new-tokens", "9", "-n", "3"], "--min-new-tokens 9 is more", None),
    (["generate", "x", "-O", "top_k"], "-O top_k: not NAME=VALUE", "-O renormalize_logits=true"),
    (["generate", "x", "-O", "topk=3"], "unknown option 'topk'", "did you mean top_k?"),
    (["generate", "x", "-O", "use_cache=true"], "use_cache cannot be set: ", "drop use_cache"),
    (["generate", "x", "-O", "top_k=-1"], "-O top_k=-1: allowed is a whole number from 0", None),
    (["generate", "x", "--top-k", "3", "-O", "top_k=4"], "top_k is set twice", "drop one"),
    (["generate", "x", "-O", "top_k=3", "-O", "top_k=4"], "top_k is set twice", "drop one"),
    (["generate", "x", "--format", "xml"], "--format xml: allowed is text or json or jsonl", None),
    (["generate", "x", "--slots", "0"], "--slots 0: allowed is a whole number from 1", None),
    (["generate", "x", "--slots", "many"], "--slots many: allowed is a whole number", None),
    (["generate", "x", "--device", "gpu"], "--device gpu: allowed is auto, cpu", "cuda:0"),
    (["generate", "x", "--dtype", "int3"], "--dtype int3: allowed is auto, float32", None),
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
]


@pytest.mark.parametrize(("arguments", "message", "hint"), WRONG, ids=lambda v: str(v)[:40])
def test_wrong_usage(refused, arguments, message, hint):
    refused(*arguments).assert_error(2, message, hint)


def test_every_flag_refuses_nonsense_by_its_own_name(refused):
    for name, spec in SPECS.items():
        if spec.kind in ("int", "float", "pair", "ints") and spec.has_flag:
            flag = "--" + name.replace("_", "-")
            refused("generate", "x", flag, "nonsense").assert_error(2, f"{flag} nonsense: allowed")


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
