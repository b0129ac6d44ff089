"""Chat models on the command line, and the commands around generation."""

from __future__ import annotations

import json
import subprocess

import pytest
from processes import environment

ANSWER = " there was a fox."


def test_a_chat_models_prompt_is_not_echoed(fake):
    assert fake("generate", "Hello", FAKE_CHAT="1").out == ANSWER + "\n"
    assert fake("generate", "Hello", "--echo", FAKE_CHAT="1").out == f"Hello{ANSWER}\n"
    assert fake("generate", "Hello", "--raw", FAKE_CHAT="1").out == f"Hello{ANSWER}\n"
    assert fake("generate", "Hello").out == f"Hello{ANSWER}\n"


def test_flags_reach_the_model(fake, tmp_path):
    marker = tmp_path / "reading"
    fake("generate", "x", "--system", "Be kind.", FAKE_READING=str(marker))
    assert json.loads(marker.read_text()) == {
        "allow_special": False,
        "raw": False,
        "system": "Be kind.",
        "chat_template": None,
    }
    fake("generate", "x", "--raw", "--allow-special", FAKE_READING=str(marker))
    assert json.loads(marker.read_text()) == {
        "allow_special": True,
        "raw": True,
        "system": None,
        "chat_template": None,
    }


def test_system_and_raw_contradict_each_other(refused):
    refused("generate", "x", "--raw", "--system", "y").assert_error(2, "--system has no effect")


def test_thinking_goes_to_standard_error_when_it_is_asked_for(fake):
    silent = fake("generate", "x", FAKE_CHAT="1", FAKE_THINKING="hm")
    assert (silent.out, silent.err) == (ANSWER + "\n", "")
    shown = fake("generate", "x", "--show-thinking", FAKE_CHAT="1", FAKE_THINKING="hm")
    assert shown.out == ANSWER + "\n"
    assert shown.err == "hm\n"


def test_logprobs_in_text_need_a_terminal(refused):
    refused("generate", "x", "--logprobs", "1").assert_error(2, "--logprobs has no place")


@pytest.fixture
def detect(installed):
    return lambda *flags, data: installed(
        "detect-watermark", "-m", "storyteller", *flags, data=data
    )


@pytest.mark.slow
def test_a_watermark_is_found(hfgen_program, detect):
    command = [
        hfgen_program,
        "generate",
        "-m",
        "storyteller",
        "--lines",
        "--no-echo",
        "--seed",
        "3",
    ]
    texts = [
        subprocess.run(
            [*command, *flags], input=b"The king", capture_output=True, env=environment({})
        ).stdout
        for flags in (["--watermark"], [])
    ]
    rows = [text.replace(b"\n", b" ") for text in texts]
    result = detect("--lines", data=rows[0] + b"\n" + rows[1] + b"\n")
    first, second = result.out.splitlines()
    assert first.startswith("watermarked: ")
    assert second.startswith("no watermark: ")
    found = json.loads(detect("--json", data=texts[0]).out)
    assert found["is_watermarked"] is True
    assert found["p_value"] < 1e-6
    # Other settings see nothing.
    other = detect("--watermarking-config", '{"hashing_key": 7}', data=texts[0])
    assert other.out.startswith("no watermark")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--z-threshold", "high"], 2, "--z-threshold high: must be a number"),
        (["--watermarking-config", "{"], 2, "--watermarking-config"),
        (["--watermarking-config", '{"bias": "x"}'], 2, "--watermarking-config"),
    ],
)
def test_wrong_settings_of_the_detector(installed, flags, code, message):
    installed("detect-watermark", "some text", *flags).assert_error(code, message)


def test_a_text_too_short_to_tell(detect):
    detect(data="a").assert_error(1, "too short to tell")
