"""Standard output carries results and nothing else: pipes, full disks, closed streams, a pty."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pytest
from processes import environment, scripted

ANSWER = " there was a fox."


def test_pipe_gets_the_text_and_nothing_else(shell):
    result = shell('story=$(hfgen generate Once); printf "<%s>" "$story"')
    assert (result.out, result.err) == (f"<Once{ANSWER}>", "")


@pytest.mark.parametrize("flags", [[], ["--format", "json"], ["--lines"]])
def test_what_libraries_print_does_not_reach_the_user(fake, flags):
    data = "Once\n"
    clean = fake("generate", "--seed", "1", *flags, data=data)
    noisy = fake("generate", "--seed", "1", *flags, data=data, FAKE_NOISE="1")
    assert (noisy.code, noisy.out, noisy.err) == (0, clean.out, "")


@pytest.mark.parametrize("flag", ["-v", "--debug"])
def test_what_libraries_print_goes_to_standard_error_on_request(fake, flag):
    result = fake("generate", "Once", flag, FAKE_NOISE="1")
    assert result.out == "Once" + ANSWER + "\n"
    for place in ("stdout", "stderr", "fd 1", "fd 2"):
        assert f"noise on {place}\n" in result.err


def test_notices_are_one_line_on_standard_error_and_quiet_removes_them(fake):
    result = fake("generate", "Once", FAKE_NOTICE="1")
    assert (result.code, result.out) == (0, "Once" + ANSWER + "\n")
    assert result.err == "notice: the scripted model answers\n"
    result = fake("generate", "Once", "-q", FAKE_NOTICE="1")
    assert (result.code, result.out, result.err) == (0, "Once" + ANSWER + "\n", "")
    result = fake("generate", "Once", "-q", FAKE_FAIL="GenerationFailed:no", FAKE_FAIL_AT="1")
    result.assert_error(1, "no")


def test_drawn_seed_is_told_with_v_and_works(fake):
    result = fake("generate", "Once", "-v")
    seed = re.fullmatch(
        r"notice: drawn seed (\d{1,10}): --seed \1 gives this text again\n", result.err
    )
    assert seed and int(seed[1]) < 2**32
    assert fake("generate", "Once", "-v", "--seed", seed[1]).err == ""
    assert fake("generate", "Once", "-v", "--greedy").err == ""
    assert fake("generate", "Once", "-v", "--format", "json").err == ""


def test_statistics_on_request(fake):
    result = fake("generate", "Once", "--stats", "--format", "json")
    assert result.out.startswith("{\n")
    assert result.err == (
        "load:        1.50 s\n"
        "first token: 0.250 s\n"
        "prefill:     8 tokens in 0.50 s, 16.0 tokens/s\n"
        "decode:      40 tokens in 2.00 s, 20.0 tokens/s\n"
        "peak memory: 64 MiB\n"
    )


def test_pieces_are_flushed_one_by_one_in_a_pipe():
    process = subprocess.Popen(
        [*scripted(), "generate", "Once"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment({"FAKE_DELAY": "0.3"}),
    )
    chunks = []
    while chunk := os.read(process.stdout.fileno(), 1000):
        chunks.append(chunk)
    assert chunks[-2:] in ([b" fox.", b"\n"], [b" a", b" fox.\n"]), chunks
    assert b"".join(chunks) == f"Once{ANSWER}\n".encode()
    assert process.wait() == 0
    process.stdout.close()


def test_closed_pipe_ends_quietly(shell):
    for flags in ("", "--format json", "--format jsonl --lines"):
        result = shell(
            "printf 'Once upon a time\\n' | "
            f"hfgen generate {flags} | head -c 10; printf '\\n%s' ${{PIPESTATUS[1]}}",
            FAKE_DELAY="0.05",
        )
        assert result.out.splitlines()[-1] == "0", result
        assert result.err == ""
    result = shell("set -o pipefail; hfgen --help | true; echo $?; hfgen generate --help | head -1")
    assert result.out.splitlines()[0] == "0"
    assert result.err == ""


@pytest.mark.parametrize(
    "command", ["generate x", "generate x --format json", "--help", "--version"]
)
def test_full_disk(shell, command):
    result = shell(f"hfgen {command} > /dev/full")
    result.assert_error(1, "No space left on device", "free some space")


@pytest.mark.parametrize(
    "command", ["generate x", "generate x --format json", "--help", "--version"]
)
def test_closed_standard_output(shell, command):
    result = shell(f"hfgen {command} >&-")
    result.assert_error(1, "standard output is closed", "-o")


def test_closed_standard_output_does_not_matter_when_it_is_not_used(shell, tmp_path):
    result = shell("hfgen generate x -o out >&-", FAKE_NOISE="1")
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "out").read_text() == "x" + ANSWER + "\n"


@pytest.mark.parametrize("end", ["2>/dev/full", "2>&-", "2> >(true)", "2>&- <&-"])
def test_standard_error_cannot_change_the_outcome(shell, end):
    good = shell(f"hfgen generate x --stats {end}", FAKE_NOTICE="1", FAKE_NOISE="1")
    assert (good.code, good.out, good.err) == (0, "x" + ANSWER + "\n", "")
    bad = shell(f"hfgen generate x --top-k -1 {end}")
    assert (bad.code, bad.out, bad.err) == (2, "", "")
    broken = shell(f"hfgen generate x {end}", FAKE_FAIL="RuntimeError:x", FAKE_FAIL_AT="1")
    assert (broken.code, broken.out, broken.err) == (1, "", "")


def test_all_streams_closed(shell, tmp_path):
    assert shell("hfgen generate x -o out <&- >&- 2>&-").code == 0
    assert (tmp_path / "out").read_text() == "x" + ANSWER + "\n"
    assert shell("hfgen generate x <&- >&- 2>&-").code == 1


def test_non_blocking_pipe(shell):
    set_flag = "import os; os.set_blocking(1, False)"
    result = shell(
        "yes 'some words' | head -500 > rows;"
        f"(\"{sys.executable}\" -c '{set_flag}'; hfgen generate --lines --format jsonl < rows)"
        " | (sleep 1; wc -l)"
    )
    assert (result.out.strip(), result.err) == ("500", "")


class Terminal:
    """The program in a terminal of its own."""

    def __init__(self, *arguments, columns=80, **env):
        self.fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = environment({"TERM": "xterm-256color", **env})
        del env["COLUMNS"]
        self.process = subprocess.Popen(
            [*scripted(), *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=env,
            start_new_session=True,
        )
        os.close(inner)
        self.seen = b""

    def read_until(self, text=None, timeout=20):
        end = time.monotonic() + timeout
        while time.monotonic() < end and (text is None or text not in self.seen):
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    chunk = os.read(self.fd, 4096)
                except OSError:
                    break
                if not chunk:
                    break
                self.seen += chunk
        return self.seen

    def type(self, data):
        os.write(self.fd, data)

    def finish(self):
        self.read_until()
        code = self.process.wait(timeout=20)
        os.close(self.fd)
        return code, self.seen.decode().replace("\r\n", "\n")


def test_terminal_shows_status_seed_prompt_in_bold_and_the_stream():
    code, seen = Terminal("generate", "Once", FAKE_NOTICE="1").finish()
    assert code == 0
    status, _, rest = seen.partition("\r\x1b[K\x1b[1mnotice:\x1b[0m the scripted model answers\n")
    assert status == "\r\x1b[K\x1b[2mloading the model …\x1b[0m"
    # Dim, and last: the text is what counts.
    assert re.fullmatch(
        r"\x1b\[1mOnce\x1b\[0m there was a fox\.\n"
        r"\x1b\[2mnotice: drawn seed \d+: --seed \d+ gives this text again\x1b\[0m\n",
        rest,
    ), rest


@pytest.mark.parametrize(
    ("flags", "lines", "notice"),
    [
        ([], 1, "cut at 4 tokens; -n for more"),
        (["--lines"], 3, "3 of 3 texts were cut at 4 tokens; -n for more"),
        (["-n", "4"], 1, None),
        (["-q"], 1, None),
    ],
)
def test_a_text_that_the_default_length_cut_is_told(flags, lines, notice, tmp_path):
    path = tmp_path / "prompts"
    path.write_text("\n".join(["Once"] * lines))
    command = ["generate", "--seed", "1", "-f", str(path), *flags]
    _, seen = Terminal(*command, NO_COLOR="1", FAKE_REASON="length").finish()
    told = [line for line in seen.splitlines() if "notice:" in line]
    assert told == ([] if notice is None else [f"notice: {notice}"])
    assert seen.splitlines()[-1].endswith(told[0] if told else "a fox.")


def test_a_text_that_the_window_cut_is_told(fake):
    prompt = "word " * 60
    result = fake("generate", prompt, "-v", "--seed", "1", FAKE_REASON="length")
    assert result.err == (
        "notice: cut at 4 tokens: the context window of 64 tokens is full; "
        "--overflow slide -n N for more\n"
    )
    assert fake("generate", prompt, "--seed", "1", FAKE_REASON="length").err == ""


def test_a_long_prompt_is_seen_on_a_terminal_at_once():
    command = ["generate", "Once", "--seed", "1"]
    _, seen = Terminal(*command, NO_COLOR="1", FAKE_PREFILL="1").finish()
    assert seen == (
        "\r\x1b[Kloading the model …"
        "\r\x1b[Kreading the prompt (prefill): 0 of 2,000 tokens"
        "\r\x1b[Kreading the prompt (prefill): 1,000 of 2,000 tokens"
        "\r\x1b[KOnce there was a fox.\n"
    )


def test_status_line_is_cut_to_the_width_of_the_terminal():
    _, seen = Terminal("generate", "x", "-m", "m" * 99, columns=20, NO_COLOR="1").finish()
    assert seen.startswith("\r\x1b[Kloading mmmmmmmmmmm\r\x1b[K")


def test_no_color_and_dumb_terminals_are_respected():
    _, seen = Terminal("generate", "Once", "--seed", "1", NO_COLOR="1").finish()
    assert seen == "\r\x1b[Kloading the model …\r\x1b[KOnce there was a fox.\n"
    for term in ("dumb", "unknown", ""):
        _, seen = Terminal("generate", "Once", "--seed", "1", TERM=term).finish()
        assert seen == "Once there was a fox.\n"
        assert "\x1b" not in Terminal("generate", "--help", TERM=term).finish()[1]
        assert "\x1b" not in Terminal("generate", "x", "--nope", TERM=term).finish()[1]
    _, seen = Terminal("generate", "Once", "--seed", "1", "-q", NO_COLOR="1").finish()
    assert seen == "Once there was a fox.\n"


def test_generated_control_characters_do_not_reach_a_terminal(fake):
    answer = " \x1b[2J\x07\x9b31m\x7f\r\n|\ttab\x08"
    _, seen = Terminal("generate", "x\x1b]0;", "-q", FAKE_ANSWER=answer, TERM="dumb").finish()
    assert seen == "x␛]0; ␛[2J␇\\x9b31m␡\n\ttab␈\n"
    assert (
        fake("generate", "x\x1b]0;", FAKE_ANSWER=answer).out
        == "x\x1b]0;" + answer.replace("|", "") + "\n"
    )


def test_error_on_a_terminal_is_red_and_starts_its_own_line():
    code, seen = Terminal(
        "generate", "Once", "-q", FAKE_FAIL="GenerationFailed:no token", FAKE_FAIL_AT="2"
    ).finish()
    assert code == 1
    assert seen == (
        "\x1b[1mOnce\x1b[0m there\n\x1b[1;31merror:\x1b[0m no token\n"
        "\x1b[1mhint:\x1b[0m add -v to see more\n"
    )


def test_terminal_without_a_prompt_is_a_usage_error():
    code, seen = Terminal("generate", NO_COLOR="1").finish()
    assert code == 2
    assert seen.startswith("error: no prompt\nhint: hfgen generate")
    code, seen = Terminal("generate", "--lines", NO_COLOR="1").finish()
    assert (code, seen.splitlines()[0]) == (2, "error: no prompt")


def test_dash_reads_from_the_terminal_until_control_d():
    terminal = Terminal("generate", "-", "-q", "--seed", "1", NO_COLOR="1")
    time.sleep(0.3)
    terminal.type(b"Once\n\x04")
    code, seen = terminal.finish()
    assert code == 0
    assert seen.endswith("Once there was a fox.\n")


def test_help_has_colours_on_a_terminal_only(installed):
    _, seen = Terminal("--help").finish()
    assert "\x1b[" in seen
    assert "\x1b[" not in installed("--help").out
    _, seen = Terminal("--help", NO_COLOR="1").finish()
    assert not re.search(r"\x1b\[[0-9;]*3\dm", seen)


def test_logprobs_are_colours_with_a_legend_on_a_terminal():
    code, seen = Terminal("generate", "Once", "--logprobs", "0", "-q").finish()
    assert code == 0
    # The scripted model is sure of every other token (0.90), and unsure of the rest (0.05).
    sure, unsure = "\x1b[32m there\x1b[0m", "\x1b[35m was\x1b[0m"
    assert f"\x1b[1mOnce\x1b[0m{sure}{unsure}" in seen
    legend = seen.splitlines()[-1]
    for words in ("50% and more", "10% to 50%", "1% to 10%", "below 1%"):
        assert words in legend
    _, plain = Terminal("generate", "Once", "--logprobs", "0", "-q", NO_COLOR="1").finish()
    assert plain == "Once there was a fox.\n"
