"""The chat template of models that have none: instructions and answers under plain headings.

A base model has no tokens for whose turn it is, and new ones would need new embeddings, which an
adapter does not train. Headings of ordinary words need nothing new, and this form (Stanford
Alpaca's, without its preamble) is what many open instruction models were made with:

    ### Instruction:
    What is the capital of France?

    ### Response:
    Paris.<|endoftext|>

The end-of-text token closes every answer, so that a model learns to stop. Saved with the model as
its chat template, the same form is what `hfgen generate` and `hfgen chat` write later.
"""

from __future__ import annotations

from typing import Any

_TURNS = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'user' %}### Instruction:\n{{ message['content'] }}\n\n"
    "{% else %}### Response:\n{{ message['content'] }}{{ eos_token }}\n\n"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)


def plain_template(tokenizer: Any) -> str:
    """The template for a tokenizer; it begins with BOS where the tokenizer puts one before text."""
    ids = tokenizer.encode("a", split_special_tokens=True)
    begins = tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id
    return "{{ bos_token }}" * begins + _TURNS
