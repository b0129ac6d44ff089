"""Small data files of every format and shape."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CONVERSATION = [
    {"from": "human", "value": "Who are you?"},
    {"from": "gpt", "value": "A small model."},
    {"from": "human", "value": "Of what?"},
    {"from": "gpt", "value": "Of stories, mostly."},
]
# Shape → one row.
ROWS = {
    "text": {"text": "The fox went home.\nIt slept."},
    "pair": {"prompt": "Animal: fox\nSound:", "completion": " ring-ding"},
    "response": {"prompt": "One, two,", "response": " three"},
    "input": {"input": "a b c", "output": " d"},
    "instruction": {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    "instances": {
        "id": "seed_1",
        "instruction": "Name the opposite.",
        "instances": [
            {"input": "night", "output": "day"},
            {"input": "", "output": "Of what?"},
        ],
    },
    "question": {"question": "How many legs has a fox?", "answer": "It has <<2+2=4>>4.\n#### 4"},
    "messages": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "Hello."},
        ]
    },
    "conversations": {"id": "c0", "conversations": CONVERSATION},
}


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


# File name → content.
FILES: dict[str, bytes] = {
    "rows.jsonl": jsonl(*({"text": f"Story {i}: é 狐狸 🦊"} for i in range(4))),
    "chats.json": json.dumps([ROWS["conversations"]] * 2, indent=2).encode(),
    "data.json": json.dumps({"version": 1, "data": [ROWS["question"]] * 2}).encode(),
    "table.csv": b'question,answer\n"Who,\nwhere?",He\n"Say ""a""",a\n',
    "table.tsv": b"question\tanswer\nWho?\tHe\nWhere?\tThere\n",
    "play.txt": "FOX:\nGood morning.\n\nHEN:\nGood night — é 狐狸.\n".encode(),
    "rows.jsonl.gz": gzip.compress(jsonl(ROWS["pair"], ROWS["pair"]), mtime=0),
}


def read_report(folder: Path) -> Any:
    """The `training.json` of a run, its objects with their members as attributes."""
    return json.loads(
        (folder / "training.json").read_bytes(), object_hook=lambda o: SimpleNamespace(**o)
    )
