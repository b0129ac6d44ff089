"""From a request's fields to `GenerationOptions`: OpenAI's sampling parameters and hfgen's own.

What the client leaves open comes from the model's `generation_config.json` and hfgen's defaults,
as for `hfgen generate`, so that equal requests give equal texts at every door.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hfgen.generation.options.options import FLAG_NAMES, SPECS, GenerationOptions
from hfgen.generation.options.rules import SAMPLING_ONLY
from hfgen.generation.options.specs import MAX_SEED
from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Prompt
from hfgen.serving.openai.errors import FIELD_NAMES, invalid
from hfgen.serving.openai.fields import Fields, shown

MOST_CHOICES = 128
MOST_TEXTS = 4096
"""Of one request."""

IGNORED = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "prompt_cache_options",
)  # fmt: skip
"""Fields of OpenAI's that change no text."""

_REFUSED_OPTIONS = {
    "assistant_model": "a request loads no model",
    "num_return_sequences": "write n",
    "logprobs": "",
}
# Below it hfgen would refuse; the text is the greedy one either way.
_LEAST_TEMPERATURE = 0.001
_LEAST_TOP_P = 1e-9
_OPTION_NAMES = {name: True for name in (*SPECS, *FLAG_NAMES) if name not in _REFUSED_OPTIONS}


def read_sampling(fields: Fields) -> dict[str, Any]:
    """The options behind OpenAI's sampling parameters, by hfgen's names."""
    values: dict[str, Any] = {
        "temperature": fields.number("temperature", 0, 100),
        "top_p": fields.number("top_p", 0, 1),
        "frequency_penalty": fields.number("frequency_penalty", -2, 2),
        "presence_penalty": fields.number("presence_penalty", -2, 2),
        "stop_strings": _read_stop(fields),
        "sequence_bias": _read_logit_bias(fields),
    }
    if values["temperature"]:
        values["temperature"] = max(values["temperature"], _LEAST_TEMPERATURE)
    if values["top_p"] is not None:
        values["top_p"] = max(values["top_p"], _LEAST_TOP_P)
    return {name: value for name, value in values.items() if value is not None}


def read_seed(fields: Fields) -> int:
    """The seed, or a drawn one; those beyond hfgen's range are brought into it."""
    seed = fields.integer("seed", -(2**63), 2**63 - 1)
    return secrets.randbits(32) if seed is None else seed % (MAX_SEED + 1)


def finish_options(
    fields: Fields, values: Mapping[str, Any], *, raw: bool
) -> tuple[GenerationOptions, Reading]:
    """Options from `values` and from the fields that are left, which are hfgen's own."""
    values = {name: value for name, value in values.items() if value is not None}
    for name, reason in _REFUSED_OPTIONS.items():
        if reason and fields.take(name) is not None:
            raise invalid(f"{name} cannot be set by a request: {reason}", name)
    reading = Reading(
        allow_special=fields.switch("allow_special") or False,
        raw=raw,
        chat_template=None if raw else fields.text("chat_template"),
    )
    own = fields.rest(_OPTION_NAMES)
    for name in own.keys() & values.keys():
        raise invalid(f"{name} says what {FIELD_NAMES.get(name, name)} says too", name)
    merged = own | values
    if merged.get("temperature") == 0:
        # For OpenAI's clients 0 says it all; what else shapes the distribution has no effect.
        merged = {k: v for k, v in merged.items() if k == "temperature" or k not in SAMPLING_ONLY}
    return GenerationOptions.from_mapping(merged), reading


def with_count(
    prompts: list[Prompt], options: GenerationOptions, seed: int, count: int
) -> tuple[list[Prompt], GenerationOptions, bool]:
    """Prompts with their seeds, for `count` texts each, and whether they were repeated for that.

    A greedy text is the same each time, and hfgen makes only one of a prompt; here each of several
    is a prompt of its own.
    """
    if len(prompts) * count > MOST_TEXTS:
        raise invalid(f"the request asks for more than {MOST_TEXTS:,} texts", "n")
    prompts = [
        replace(prompt, seed=(seed + index) % (MAX_SEED + 1))
        for index, prompt in enumerate(prompts)
    ]
    if count == 1:
        return prompts, options, False
    is_greedy = options.temperature == 0 or options.do_sample is False
    if is_greedy and (options.num_beams or 1) == 1:
        return [prompt for prompt in prompts for _ in range(count)], options, True
    return prompts, replace(options, num_return_sequences=count), False


def read_stream(fields: Fields) -> tuple[bool, bool]:
    """Whether the answer is streamed, and whether usage comes with it."""
    is_stream = fields.switch("stream") or False
    options = fields.take("stream_options")
    if options is None:
        return is_stream, False
    if not isinstance(options, dict):
        raise invalid("stream_options must be an object", "stream_options")
    inner = Fields(options)
    has_usage = inner.switch("include_usage") or False
    inner.ignore("include_obfuscation")
    inner.rest({})
    return is_stream, has_usage


def _read_stop(fields: Fields) -> list[str] | None:
    value = fields.take("stop")
    if value is None or value == []:
        return None
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
        raise invalid("stop must be a text or an array of texts that are not empty", "stop")
    return stops


def _read_logit_bias(fields: Fields) -> list[tuple[list[int], float]] | None:
    value = fields.take("logit_bias")
    if value is None or value == {}:
        return None
    if not isinstance(value, dict):
        raise invalid("logit_bias must be an object of token ids and numbers", "logit_bias")
    found = []
    for key, bias in value.items():
        is_number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not (key.isascii() and key.isdecimal() and len(key) < 10):
            raise invalid(f"logit_bias: {shown(key)} is no token id", "logit_bias")
        if not is_number or not -100 <= bias <= 100:
            raise invalid(f"logit_bias: {shown(bias)} must be from -100 to 100", "logit_bias")
        found.append(([int(key)], float(bias)))
    return found
