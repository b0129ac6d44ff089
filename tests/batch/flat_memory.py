"""Run by a test as a process of its own: many rows through a model that only looks like one.

Prints the peak memory in KiB after the first rows, at the end, and after a resume that has nothing
to do. Without torch, so that what is measured is the batch.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from hfgen.batch.input.reading import Rows, find_sources
from hfgen.batch.output.output import FileOutput
from hfgen.batch.run import Plan, run
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.records import Piece, Record
from hfgen.generation.scheduler import Scheduler


@dataclass
class Text:
    request: SimpleNamespace
    prompt: str
    count = 1

    def add(self, event):
        index, sample = event.key
        record = Record(index, None, "fake", self.prompt, " and so on" * 20, "length", index, 1, 1)
        return Piece(index, sample, "", (), record)


@dataclass
class Engine:
    slots: int
    computes_any_lengths: bool = False
    waiting: list = field(default_factory=list)

    @property
    def has_work(self):
        return bool(self.waiting)

    def submit(self, request):
        self.waiting.append(request)

    def step(self):
        # The newest first, so that rows overtake each other.
        request = self.waiting.pop()
        return [SimpleNamespace(key=request.key, error=None, is_last=True)]


class Model:
    name = "fake"
    model = SimpleNamespace(dtype="float32")

    def fingerprint(self):
        return "1"

    def check_reading(self, reading):
        pass

    def scheduler(self, slots, **settings):
        return Scheduler(Engine(slots))

    def prepare(self, prompt, index, options, reading):
        ids = (1,) * (1 + index % 7)
        request = SimpleNamespace(key=(index, 0), prompt_ids=ids, is_delegated=False)
        return [Text(request, prompt.text)]


def peak_kib():
    # ru_maxrss would count what the parent process held when it started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main(source, out):
    peaks = []

    def listen(progress):
        if progress.rows == 3000:
            peaks.append(peak_kib())

    for mode in ("new", "resume"):
        rows = Rows(find_sources([source], has_text_lines=True), None)
        plan = Plan(GenerationOptions(seed=1), slots=8)
        run(Model(), rows, FileOutput(out, mode, is_ordered=True), plan, listen=listen)
        peaks.append(peak_kib())
    assert "torch" not in sys.modules
    print(*peaks)


if __name__ == "__main__":
    main(*sys.argv[1:])
