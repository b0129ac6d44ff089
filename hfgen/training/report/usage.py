"""How a trained model is used: on the command line and in Python, as Markdown.

Prompts are of the kind that the model was trained on, and go through its chat template where the
training rows did.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hfgen.training.report.asking import Asking
from hfgen.training.report.markdown import code, fenced, visible

if TYPE_CHECKING:
    from hfgen.training.report.record import RunReport

_PROMPT_CHARACTERS = 300
_NO_PROMPT = "Once upon a time"
_PLACE = (
    "The base model's folder on the machine of the training is named in `adapter_config.json` "
    "(`base_model_name_or_path`); elsewhere its place has to be written there."
)
_BUNDLED = (
    "The base model comes with hfgen, which finds it on any machine; for peft alone its folder is "
    "named in `adapter_config.json` (`base_model_name_or_path`)."
)
_ENCODE_TEXT = 'inputs = tokenizer(prompt, return_tensors="pt")'
_ENCODE_CHAT = """\
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)"""


def usage(report: RunReport, name: str) -> str:
    """The commands, for a folder of this name."""
    folder = f"./{name}"
    asking = report.data.asking
    if asking.prompt is None:
        asking = replace(asking, prompt=_prompt(report), system=None)
    command = asking.command(folder, otherwise="-f prompt.txt")
    library, program = _python(report, folder, asking)
    parts = [
        f"Prompts are written as {code(asking.form)}." if asking.form else "",
        "Prompts go through the model's chat template." if asking.is_chat else "",
        fenced(command, "sh"),
        f"or in Python with {library}:",
        fenced(program, "python"),
    ]
    if report.is_adapter and report.base.repo_id is None:
        parts.append(_BUNDLED if report.base.source == "bundled" else _PLACE)
    return "\n\n".join(filter(None, parts))


def _prompt(report: RunReport) -> str | None:
    """The shortest prompt of the samples; None where all are too long for a command line."""
    prompts = [sample.prompt for sample in report.after.samples or report.before.samples]
    found = [p for p in prompts if p.strip() and p != "-" and visible(p) == p]
    if not prompts:
        return _NO_PROMPT
    shortest = min(found, key=len, default=None)
    return shortest if shortest is not None and len(shortest) <= _PROMPT_CHARACTERS else None


def _python(report: RunReport, folder: str, asking: Asking) -> tuple[str, str]:
    """The library, and a program that uses it."""
    prompt = asking.prompt
    text = 'open("prompt.txt", encoding="utf-8").read()' if prompt is None else repr(prompt)
    head = [f"folder = {folder!r}", f"prompt = {text}"]
    library, kind = "transformers", "AutoModelForCausalLM"
    imports = [f"from transformers import {kind}, AutoTokenizer"]
    if report.is_adapter:
        library, kind = "peft", "AutoPeftModelForCausalLM"
        imports = [f"from peft import {kind}", "from transformers import AutoTokenizer"]
    if asking.is_chat:
        turns = '{"role": "user", "content": prompt}'
        if asking.system is not None:
            turns = f'{{"role": "system", "content": {asking.system!r}}}, {turns}'
        head.append(f"messages = [{turns}]")
    how = "do_sample=False" if asking.is_label else "do_sample=True, temperature=0.8, top_p=0.95"
    lines = [
        *imports, "", *head,
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {kind}.from_pretrained(folder)",
        _ENCODE_CHAT if asking.is_chat else _ENCODE_TEXT,
        "output = model.generate(",
        f"    **inputs, max_new_tokens=200, {how}",
        ")",
        'start = inputs["input_ids"].shape[1]',
        "print(tokenizer.decode(output[0, start:], skip_special_tokens=True))",
    ]  # fmt: skip
    return library, "\n".join(lines)
