"""Which of a model's chat templates writes a conversation.

Most tokenizers have one; some have several, by name, of which Transformers takes `default`. Where
none is called that, the user has to choose.
"""

from __future__ import annotations

from typing import Any

from hfgen.errors import UsageError
from hfgen.mentions import mention

_DEFAULT = "default"

# What DialoGPT was trained on (Zhang et al. 2020, section 3): turns, each with an end of text.
_TURNS = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"


def give_own_form(tokenizer: Any, config: Any) -> None:
    """Give the tokenizer of a DialoGPT its form of a conversation, where its files lack it.

    Such a model is known by the task that its configuration names.
    """
    tasks = getattr(config, "task_specific_params", None) or {}
    if "conversational" in tasks and not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = _TURNS


def chosen_template(tokenizer: Any, name: str | None = None) -> str:
    """Return the template of that name, or the one that counts where nobody named one.

    Raises `UsageError` with the names for one that is not there, and where none is the default.
    """
    found = tokenizer.chat_template
    given, drop = mention("chat_template", name), f"drop {mention('chat_template')}"
    if not found:
        raise UsageError("the model has no chat template", hint=drop)
    if not isinstance(found, dict):
        if name not in (None, _DEFAULT):
            raise UsageError(f"{given}: the model has one chat template, without a name", hint=drop)
        return str(found)
    if (name or _DEFAULT) in found:
        return str(found[name or _DEFAULT])
    names = ", ".join(sorted(found))
    if name is not None:
        raise UsageError(f"{given}: the model's are {names}", hint="name one of them")
    raise UsageError(
        f"the model has several chat templates and none of them is the default: {names}",
        hint=f"choose one, as {mention('chat_template', min(found))}",
    )
