"""Run as a program: the most memory that loading and generating took, beyond the imports.

    python measure_peak.py MODEL DTYPE SLOTS CONTEXT

Prompts differ but are equally long, CONTEXT less the new tokens. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

NEW_TOKENS = 16


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024


def main(model: str, dtype: str, slots: int, context: int) -> None:
    import hfgen
    from hfgen.models.sizing.estimate import estimate

    warm = hfgen.load("storyteller", device="cpu")
    warm.generate(["A tale", "A king"], max_new_tokens=4, do_sample=False)
    del warm
    import transformers.models.gpt2.modeling_gpt2
    import transformers.models.llama.modeling_llama  # noqa: F401

    floor = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    lm = hfgen.load(model, device="cpu", dtype=dtype)
    length = context - NEW_TOKENS
    prompts = []
    for slot in range(slots):
        ids = [100 + (slot + i) % 900 for i in range(length)]
        text = lm.tokenizer.decode(ids)
        while (found := len(lm.tokenizer(text).input_ids)) != length:
            text = text[: len(text) * length // found] if found > length else text + " a"
        prompts.append(text)
    records = lm.generate(
        prompts, slots=slots, max_new_tokens=NEW_TOKENS, do_sample=False, raw=True
    )
    peak = memory("VmHWM") - floor
    needs = estimate(model, context=context, slots=slots).needs
    (need,) = [need for need in needs if need.dtype == dtype]
    print(
        json.dumps(
            {
                "peak_bytes": peak,
                "estimated_bytes": need.peak_bytes,
                "prompt_tokens": [record.prompt_tokens for record in records],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
