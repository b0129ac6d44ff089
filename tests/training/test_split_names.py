"""The parts of a data set in a folder: which files are trained on, validated on, and left alone."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from samples import jsonl

from hfgen.training.corpus.documents import read_documents
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.reading.files import find_sources, read_rows
from hfgen.training.reading.split_names import split_by_names
from hfgen.training.reading.validation_files import part_notices, validation_paths

HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None


def names(*files: str) -> tuple[list[str], list[str], list[str]]:
    folder = Path("d")
    parts = split_by_names([folder / name for name in files], folder)
    train, validation, test = (
        [str(path.relative_to(folder)) for path in part]
        for part in (parts.train, parts.validation, parts.test)
    )
    return train, validation, test


@pytest.mark.parametrize("word", ["valid", "validation", "val", "dev", "eval"])
@pytest.mark.parametrize(
    "form", ["{}.jsonl", "{}.jsonl.gz", "{}-00000-of-00002.parquet", "{}/a.txt", "wiki_{}.jsonl"]
)
def test_parts_are_told_by_their_names(word: str, form: str) -> None:
    train, validation, test = (form.format(part) for part in ("train", word, "test"))
    assert names(train, validation, test) == ([train], [validation], [test])
    assert names(train.upper(), test.upper()) == ([train.upper()], [], [test.upper()])


@pytest.mark.parametrize(
    "files",
    [
        ("a.jsonl", "b.jsonl"),
        ("train.jsonl", "more.jsonl"),
        ("test.jsonl",),
        ("valid.jsonl", "test.jsonl"),
        ("The_Test.txt", "Dev_Notes.txt", "Emma.txt"),
        ("contest.txt", "attest.txt", "evaluation.txt", "train.txt"),
        ("train_and_test.jsonl", "train.jsonl"),
    ],
)
def test_other_names_say_nothing(files: tuple[str, ...]) -> None:
    assert names(*files) == (list(files), [], [])


def test_data_without_a_name_are_trained_on() -> None:
    assert names("data.jsonl", "test.jsonl") == (["data.jsonl"], [], ["test.jsonl"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.jsonl").write_bytes(jsonl({"text": name}))
    return tmp_path


def read(paths: Sequence[str | Path]) -> list[object]:
    return [row.values["text"] for row in read_rows(paths)]


@pytest.mark.parametrize("kind", [TrainingOptions, PretrainOptions])
def test_a_folder_is_trained_and_validated_on_its_parts(folder: Path, kind: Any) -> None:
    assert read([folder]) == ["train"]
    assert [document.text for document in read_documents([folder])] == ["train"]
    assert read(validation_paths([folder], kind())) == ["valid"]
    assert part_notices([folder], kind()) == [
        f"{folder}: training on train.jsonl; validation on valid.jsonl; not used: test.jsonl"
    ]
    # What is named itself is used as it is named.
    test = str(folder / "test.jsonl")
    assert read([test]) == ["test"]
    assert validation_paths([test], kind()) == part_notices([test], kind()) == []


def test_what_the_user_says_about_validation_counts(folder: Path) -> None:
    asked = TrainingOptions(val_split=0.1)
    assert validation_paths([folder], asked) == []
    (line,) = part_notices([folder], asked)
    assert line.endswith("training on train.jsonl; not used: valid.jsonl, test.jsonl")
    named = TrainingOptions(val_data=str(folder / "test.jsonl"))
    assert read(validation_paths([folder], named)) == ["test"]
    assert read(validation_paths([folder], TrainingOptions(val_data=str(folder)))) == ["valid"]
    (folder / "valid.jsonl").unlink()
    assert read(validation_paths([folder], TrainingOptions(val_data=str(folder)))) == ["test"]


@pytest.mark.skipif(not HAS_PYARROW, reason="no pyarrow")
@pytest.mark.parametrize("form", ["stream", "file"])
def test_a_folder_of_save_to_disk_is_read(tmp_path: Path, form: str) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
    }
    schema = arrow.schema(
        [("text", arrow.string()), ("label", arrow.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for part, labels in (("train", [1, 0, -1, None]), ("test", [1])):
        texts = [f"{part} {n}" for n in range(len(labels))]
        table = arrow.table({"text": texts, "label": labels}, schema=schema)
        place = tmp_path / part
        place.mkdir()
        (place / "dataset_info.json").write_text('{"features": {}}')
        (place / "state.json").write_text('{"_data_files": []}')
        writer = arrow.ipc.new_stream if form == "stream" else arrow.ipc.new_file
        with writer(str(place / "data-00000-of-00001.arrow"), schema) as out:
            out.write_table(table)
    rows = list(read_rows([tmp_path]))
    assert [row.values["label"] for row in rows] == ["good", "bad", None, None]
    assert rows[0].place == f"{tmp_path}/train/data-00000-of-00001.arrow:1"
    parquet: Any = importlib.import_module("pyarrow.parquet")
    parquet.write_table(table, tmp_path / "test.parquet")
    assert [row.values for row in read_rows([tmp_path / "test.parquet"])] == [
        {"text": "test 0", "label": "good"}
    ]


def test_other_folders_keep_their_json_files(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(jsonl({"text": "a"}))
    assert len(find_sources([tmp_path])) == 1
