"""`hfgen` with a scripted model: run by tests as a process of its own.

The script answers every prompt with the words of FAKE_ANSWER (`|` separates the pieces), one step
a piece, several texts side by side as the engine does; each ends by FAKE_REASON. FAKE_DELAY is the
time of a step in seconds; FAKE_FAIL names an exception to raise after FAKE_FAIL_AT steps;
FAKE_NOISE makes the model print and warn; FAKE_PREFILL reports a long prompt. It says `loaded` to
the file FAKE_LOADED.
"""

import builtins
import json
import os
import sys
import time
import types
import warnings
from pathlib import Path

import hfgen.loading
from hfgen import errors
from hfgen.cli.program.main import main
from hfgen.generation.records import NOT_YET, Piece, Record, TokenLogprob

ANSWER = os.environ.get("FAKE_ANSWER", " there| was| a| fox.").split("|")

REASON = os.environ.get("FAKE_REASON", "eos")


class ScriptedModel:
    """Looks like `hfgen.language_model.LanguageModel` as far as the command can see."""

    name = "scripted"
    window = 64
    is_chat = bool(os.environ.get("FAKE_CHAT"))
    notices = ("the scripted model answers",) if os.environ.get("FAKE_NOTICE") else ()

    def __init__(self):
        self.statistics = None
        self.steps = 0

    def stream(self, prompts, options=None, *, slots=16, progress=None, **reading):
        for done in range(0, 2000, 1000) if os.environ.get("FAKE_PREFILL") else ():
            progress(done, 2000)
        if marker := os.environ.get("FAKE_READING"):
            Path(marker).write_text(json.dumps(reading))
        samples = options.num_return_sequences or 1
        source = iter(enumerate(prompt for prompt in prompts if prompt is not NOT_YET))
        rows, is_open = [], True
        while is_open or rows:
            while is_open and len(rows) < slots:
                index, prompt = next(source, (None, None))
                if index is None:
                    is_open = False
                    break
                rows += [(index, sample, prompt, self._answer(prompt)) for sample in range(samples)]
            yield from self._step(rows, options)
        self.statistics = types.SimpleNamespace(
            load_s=1.5, first_token_s=0.25, prefill_tokens=8, prefill_s=0.5,
            decode_tokens=40, decode_s=2.0, peak_bytes=64 * 2**20,
        )  # fmt: skip

    def _answer(self, prompt):
        # "long:…" takes longer than the others, so that later rows overtake it.
        pieces = ANSWER * 4 if prompt.startswith("long:") else ANSWER
        return list(pieces)

    def _step(self, rows, options):
        self.steps += 1
        time.sleep(float(os.environ.get("FAKE_DELAY", "0")))
        if os.environ.get("FAKE_NOISE"):
            print("noise on stdout")
            sys.stderr.write("noise on stderr\n")
            os.write(1, b"noise on fd 1\n")
            os.write(2, b"noise on fd 2\n")
            warnings.warn("a warning", stacklevel=1)
        if self.steps == int(os.environ.get("FAKE_FAIL_AT", "-1")):
            name, _, text = os.environ["FAKE_FAIL"].partition(":")
            kind = getattr(errors, name, None) or getattr(builtins, name)
            raise kind(text)
        for row in list(rows):
            index, sample, prompt, left = row
            piece = left.pop(0)
            record = None
            if not left:
                rows.remove(row)
                answer = "".join(self._answer(prompt))
                record = Record(
                    index=index, id=None, model=self.name, prompt=prompt, completion=answer,
                    finish_reason=REASON, seed=options.seed + index + 1000 * sample,
                    prompt_tokens=len(prompt.split()), completion_tokens=len(ANSWER),
                )  # fmt: skip
            thought = os.environ.get("FAKE_THINKING", "") if self.steps == 1 else ""
            logprobs = ()
            if options.logprobs is not None:
                logprobs = (TokenLogprob(7, piece, -0.1 if self.steps % 2 else -3.0),)
            yield Piece(index, sample, piece, logprobs, record, thought)


def load(which):
    if marker := os.environ.get("FAKE_LOADED"):
        Path(marker).write_text("loaded")
    time.sleep(float(os.environ.get("FAKE_LOAD_DELAY", "0")))
    return ScriptedModel()


if __name__ == "__main__":
    hfgen.loading.load_model = load
    main()
