"""One conversation by four doors: Python, a batch row, a server request and a chat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hfgen import GenerationOptions
from hfgen.batch.input.reading import Rows, find_sources
from hfgen.batch.output.output import FileOutput
from hfgen.batch.run import Plan, run
from hfgen.dialogue.conversation import Message

SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A king."},
    {"role": "user", "content": "Where do you live?"},
]


@pytest.mark.parametrize("model", ["story", "base", "chat"])
@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 0.9, "top_p": 0.8}])
def test_the_same_request_gives_the_same_text_everywhere(
    server: Any, lm_named: Any, model: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    lm = lm_named(model)
    options = {**settings, "max_new_tokens": 24}
    expected = lm.generate(SAID, seed=11, **options).completion

    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"messages": SAID, "seed": 11}) + "\n")
    rows = Rows(find_sources([str(source)], has_text_lines=False), None)
    run(
        lm,
        rows,
        FileOutput(str(out), "new", is_ordered=True),
        Plan(GenerationOptions(**options), slots=2),
    )
    (row,) = map(json.loads, out.read_text().splitlines())

    body = {"model": model, "messages": SAID, "seed": 11, "max_tokens": 24, **settings}
    answer = server.post("/v1/chat/completions", **body)
    streamed = server.client.chat.completions.create(stream=True, **body)
    pieces = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)

    chat = lm.chat(system="Be brief.", **options)
    for message in SAID[1:-1]:
        chat.conversation.add(Message(message["role"], message["content"]))
    said = chat.send(SAID[-1]["content"], seed=11).completion

    texts = [row["completion"], answer["choices"][0]["message"]["content"], pieces, said]
    assert texts == [expected] * 4
