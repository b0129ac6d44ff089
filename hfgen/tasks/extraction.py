"""`Extractor`: structured answers about texts, by constrained generation.

A prompt is an instruction, examples (few-shot) and the text, a blank line between them; a chat
model gets it as a message. The answer is held to the task's form, so it always parses; whether it
is right is the model's matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hfgen.errors import UsageError
from hfgen.generation.constraints.grammars import OPTIONS
from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.records import Prompt, Record
from hfgen.mentions import mention
from hfgen.tasks.grounding import grounded_grammar, ungrounded
from hfgen.tasks.presets import Example, Task

DEFAULTS = GenerationOptions(do_sample=False, max_new_tokens=200)
_ASK = "Answer about the text in the form that the examples show."


@dataclass(frozen=True)
class Extraction:
    """What was extracted from one text."""

    text: str
    result: Any
    """The parsed JSON; a text for `regex`, `choices` and `grammar`."""
    finish_reason: str
    """`length` where the answer was closed for its length: it may lack something."""
    id: str | None = None
    not_in_text: tuple[str, ...] = ()
    """With grounding: strings of the answer that the text does not hold."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        row: dict[str, Any] = {} if self.id is None else {"id": self.id}
        row |= {"text": self.text, "result": self.result, "finish_reason": self.finish_reason}
        if self.not_in_text:
            row["not_in_text"] = list(self.not_in_text)
        return row


class Extractor:
    """Asks one model for one form of answer.

    The form is a task's, or that of the one option among `json_schema`, `regex`, `choices` and
    `grammar` that `options` hold. Raises `UsageError` for both or none.
    """

    def __init__(
        self,
        lm: Any,
        task: Task | None,
        options: GenerationOptions,
        *,
        examples: Sequence[Example] = (),
        instruction: str | None = None,
        grounded: bool | None = None,
    ) -> None:
        self._lm = lm
        given = [name for name in OPTIONS if getattr(options, name) is not None]
        if (task is None) != bool(given):
            raise UsageError(
                "extraction takes one form of answer", hint=f"give {mention('json_schema')}"
            )
        self._schema = None if task is None else task.schema
        if options.json_schema is not None:
            self._schema = json.loads(options.json_schema)
        default = task is not None and task.is_grounded
        self._is_grounded = default if grounded is None else grounded
        if self._is_grounded and self._schema is None:
            raise UsageError("grounding needs a schema", hint=f"give {mention('json_schema')}")
        self._options = replace(options, json_schema=None).over(DEFAULTS)
        self._instruction = instruction or (task.instruction if task else None)
        shown = examples or (task.examples if task else ())
        self._examples = [self._shown(example) for example in shown]

    def prompt(self, text: str) -> str:
        """What the model reads, without its chat template."""
        about = self._instruction or self._described()
        return "\n\n".join([about, *self._examples, f"Text: {text}\nAnswer:\n"])

    def extract(self, texts: Iterable[tuple[str, str | None]]) -> Iterator[Extraction]:
        """The answers for texts with their ids, in the texts' order."""
        read: list[tuple[str, str | None]] = []

        def prompts() -> Iterator[Prompt]:
            for text, row_id in texts:
                read.append((text, row_id))
                yield Prompt(self.prompt(text), options=self._constrained(text))

        waiting: dict[int, Record] = {}
        following = 0
        for piece in self._lm.stream(prompts(), self._options):
            if piece.record is not None:
                waiting[piece.index] = piece.record
            while (record := waiting.pop(following, None)) is not None:
                yield self._answer(*read[following], record)
                following += 1

    def _constrained(self, text: str) -> GenerationOptions | None:
        if self._schema is None:
            return None
        grammar = grounded_grammar(self._schema, text) if self._is_grounded else None
        if grammar is not None:
            return GenerationOptions(grammar=grammar)
        return GenerationOptions(json_schema=self._schema)  # type: ignore[arg-type]

    def _answer(self, text: str, row_id: str | None, record: Record) -> Extraction:
        if self._schema is None:
            return Extraction(text, record.completion, record.finish_reason, row_id)
        result = json.loads(record.completion)
        missing = tuple(ungrounded(result, text)) if self._is_grounded else ()
        return Extraction(text, result, record.finish_reason, row_id, missing)

    def _shown(self, example: Example) -> str:
        result = example.result
        answer = result if self._schema is None else json.dumps(result, ensure_ascii=False)
        return f"Text: {example.text}\nAnswer:\n{answer}"

    def _described(self) -> str:
        if self._schema is not None:
            properties = self._schema.get("properties", {})
            fields = [
                f"{name} ({inner['description']})" if "description" in inner else name
                for name, inner in properties.items()
                if isinstance(inner, dict)
            ]
            return f"Extract from the text, as JSON: {', '.join(fields)}." if fields else _ASK
        if self._options.choices is not None:
            return f"Answer about the text with one of: {', '.join(self._options.choices)}."
        return _ASK
