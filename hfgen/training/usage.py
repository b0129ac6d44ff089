"""How a trained model is used: on the command line and in Python, as Markdown.

Prompts are of the kind that the model was trained on, and go through its chat template where the
training rows did.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hfgen.training.markdown import fenced, visible

if TYPE_CHECKING:
    from hfgen.training.report import RunReport

_PROMPT_CHARACTERS = 300
_NO_PROMPT = "Once upon a time"


def usage(report: RunReport, name: str) -> str:
    """The commands, for a folder of this name."""
    folder = f"./{name}"
    prompt = _prompt(report)
    raw = ["--raw"] * (report.has_template and not report.data.is_chat)
    words = ["hfgen", "generate", "-m", folder, *raw]
    if prompt is None:
        words += ["-f", "prompt.txt"]
    else:
        words += ["--"] * prompt.startswith("-") + [prompt]
    return (
        fenced(shlex.join(words), "sh")
        + f"\n\nor in Python with {'peft' if report.is_adapter else 'transformers'}:\n\n"
        + fenced(_python(report, folder, prompt), "python")
    )


def _prompt(report: RunReport) -> str | None:
    """The shortest prompt of the samples; None where all are too long for a command line."""
    prompts = [sample.prompt for sample in report.after.samples or report.before.samples]
    found = [p for p in prompts if p.strip() and p != "-" and visible(p) == p]
    if not prompts:
        return _NO_PROMPT
    shortest = min(found, key=len, default=None)
    return shortest if shortest is not None and len(shortest) <= _PROMPT_CHARACTERS else None


def _python(report: RunReport, folder: str, prompt: str | None) -> str:
    kind = "AutoPeftModelForCausalLM" if report.is_adapter else "AutoModelForCausalLM"
    imports = ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
    if report.is_adapter:
        imports = [f"from peft import {kind}", "from transformers import AutoTokenizer"]
    encode = 'inputs = tokenizer(prompt, return_tensors="pt")'
    if report.data.is_chat:
        encode = (
            "inputs = tokenizer.apply_chat_template(\n"
            '    [{"role": "user", "content": prompt}],\n'
            '    add_generation_prompt=True, return_tensors="pt", return_dict=True,\n'
            ")"
        )
    text = 'open("prompt.txt", encoding="utf-8").read()' if prompt is None else repr(prompt)
    lines = [
        *imports, "",
        f"folder = {folder!r}",
        f"prompt = {text}",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {kind}.from_pretrained(folder)",
        encode,
        "output = model.generate(",
        "    **inputs, max_new_tokens=200, do_sample=True, temperature=0.8, top_p=0.95",
        ")",
        'start = inputs["input_ids"].shape[1]',
        "print(tokenizer.decode(output[0, start:], skip_special_tokens=True))",
    ]  # fmt: skip
    return "\n".join(lines)
