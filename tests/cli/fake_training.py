"""`hfgen` with a scripted training: run by tests as a process of its own.

FAKE_STEPS steps of FAKE_DELAY seconds each, an evaluation every FAKE_EVERY of them, a checkpoint
with each. The file FAKE_ASKED holds what the library was called with, and
FAKE_MARKER how far it is. It raises FAKE_FAIL (`Name:text`) at step FAKE_FAIL_AT, and prints and
warns with FAKE_NOISE. FAKE_LOAD_DELAY and FAKE_WRITE_DELAY are the times before and after the
steps; FAKE_NO_VALIDATION and FAKE_NAN change the validation loss.
"""

import builtins
import json
import os
import sys
import time
import warnings
from pathlib import Path

from hfgen import errors
from hfgen.cli.program.main import main
from hfgen.training.data.summary import Summary
from hfgen.training.events import Evaluation, Sample, Step
from hfgen.training.planning.cost import Cost
from hfgen.training.planning.plan import Plan
from hfgen.training.runs.finetuning import FinetuneRun
from hfgen.training.runs.outcome import DryRun, Finetuned

STEPS, EVERY = int(os.environ.get("FAKE_STEPS", "4")), int(os.environ.get("FAKE_EVERY", "2"))
PLAN = Plan(
    method=os.environ.get("FAKE_METHOD", "full"), steps=STEPS, epochs=3.0, steps_per_epoch=100,
    batch_size=8, gradient_accumulation_steps=2, processes=1, learning_rate=2e-4, warmup_steps=15,
    eval_steps=EVERY, save_steps=EVERY, max_length=512, precision="fp32", batches="padded",
    train_rows=1173, train_tokens=123456, val_rows=61, val_tokens=6789,
)  # fmt: skip
DESCRIPTION = "data.jsonl: question and answer, written by the model's chat template"
TEXT = "Tom went to the\nshop to buy a \x1b[31mred ball."
SAMPLE = Sample("Q: What is 2 + 2?\nA:", " 4\nIt is \x1b[2Jfour.\n\nThat is all.", "eos")


def tell(**values):
    if marker := os.environ.get("FAKE_MARKER"):
        Path(marker).write_text(json.dumps(values))


def note(request):
    if asked := os.environ.get("FAKE_ASKED"):
        stdin = None if request.stdin is None else request.stdin.read().decode()
        told = vars(request) | {"stdin": stdin, "options": request.options.given()}
        Path(asked).write_text(json.dumps(told, default=str))


def make_noise():
    if os.environ.get("FAKE_NOISE"):
        print("noise on stdout")
        sys.stderr.write("noise on stderr\n")
        os.write(1, b"noise on fd 1\n")
        os.write(2, b"noise on fd 2\n")
        warnings.warn("a warning", stacklevel=1)


def fail(step):
    if step == int(os.environ.get("FAKE_FAIL_AT", "-1")):
        name, _, text = os.environ["FAKE_FAIL"].partition(":")
        raise (getattr(errors, name, None) or getattr(builtins, name))(text)


def evaluation(step):
    loss = None if os.environ.get("FAKE_NO_VALIDATION") else 3.9 - 2 * step / STEPS
    if os.environ.get("FAKE_NAN") and step == STEPS:
        loss = float("nan")
    return Evaluation(step, loss, is_best=step > 0, samples=(SAMPLE,))


def execute(run):
    request, listener, stop = run.request, run.listener, run.request.stop
    note(request)
    listener.stage("loading the model …")
    tell(stage="loading")
    make_noise()
    time.sleep(float(os.environ.get("FAKE_LOAD_DELAY", "0")))
    listener.notice("rows recognised as question and answer")
    listener.evaluation(evaluation(0))
    done = STEPS
    for step in range(1, STEPS + 1):
        time.sleep(float(os.environ.get("FAKE_DELAY", "0")))
        fail(step)
        listener.step(
            Step(
                step, STEPS, epoch=step / 100, loss=4 - 2 * step / STEPS, learning_rate=1e-4,
                grad_norm=1.0, tokens=1000 * step, tokens_per_s=1234.4,
                remaining_s=float(STEPS - step), memory_bytes=1_900_000_000,
            )
        )  # fmt: skip
        tell(step=step)
        if step % EVERY == 0:
            listener.evaluation(evaluation(step))
            listener.saved(step)
        if stop.is_made:
            listener.saved(step)
            done = step
            break
    was_stopped = stop.is_made and done < STEPS
    if not was_stopped:
        listener.stage("writing the model …")
    tell(stage="writing")
    time.sleep(float(os.environ.get("FAKE_WRITE_DELAY", "0")))
    folder = Path(request.output or "gpt2-finetuned")
    return Finetuned(
        folder=folder, method=PLAN.method, plan=PLAN, steps=done, was_stopped=was_stopped, seed=42,
        seconds=200.0, tokens=4000, peak_bytes=1_900_000_000, before=evaluation(0),
        after=evaluation(done), files=(folder / "model.safetensors",),
    )  # fmt: skip


def rehearse(run):
    request, listener = run.request, run.listener
    note(request)
    listener.stage("reading …")
    make_noise()
    listener.notice("the model comes from the cache")
    listener.notice("no GPU: this is slow")
    fail(1)
    summary = Summary(
        description=DESCRIPTION,
        rows=1234, examples=1250, tokens=123456, learned_tokens=45678, shortest=9, longest=800,
        percentiles={50: 85, 90: 134, 99: 300}, skipped=2, split=12, windows=28, truncated=0,
        dropped=0,
    )  # fmt: skip
    examples = [
        [("Q: What is 2 + 2?\nA:", False), (" 4<|endoftext|>", True)],
        [(TEXT, True)],
        [("line\n" * 40 + "ask:", False), (" word" * 300, True)],
    ]
    return DryRun(
        model="gpt2", parameters=124439808, trainable_parameters=124439808,
        output=Path(request.output or "gpt2-finetuned"), summary=summary, plan=PLAN,
        cost=Cost(1_900_000_000, 4_100_000_000, 750.0), examples=examples,
        notices=("the model comes from the cache", "no GPU: this is slow"),
    )  # fmt: skip


if __name__ == "__main__":
    FinetuneRun.execute, FinetuneRun.rehearse = execute, rehearse
    main()
