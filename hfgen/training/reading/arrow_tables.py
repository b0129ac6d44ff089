"""Rows of parquet and Arrow files, by pyarrow.

Files that the `datasets` library wrote say in their schema which numbers stand for which labels:
such a number is read as its name.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from hfgen.errors import DataError, MissingExtra
from hfgen.training.reading.rows import RawRow

_BATCH = 1024
_FILE_MARK = b"ARROW1"
_FEATURES = b"huggingface"


def parquet_rows(stream: BinaryIO, file: str) -> Iterator[RawRow]:
    """Yield the rows of a parquet file. Raises `MissingExtra` without pyarrow."""
    parquet = _library("pyarrow.parquet", file, "parquet")

    def batches() -> tuple[Any, Iterable[Any]]:
        table = parquet.ParquetFile(stream)
        return table.schema_arrow, table.iter_batches(batch_size=_BATCH)

    return _rows(batches, file, "parquet")


def arrow_rows(stream: BinaryIO, file: str) -> Iterator[RawRow]:
    """Yield the rows of an Arrow stream or file. Raises `MissingExtra` without pyarrow."""
    ipc = _library("pyarrow.ipc", file, "Arrow")

    def batches() -> tuple[Any, Iterable[Any]]:
        begins = stream.read(len(_FILE_MARK))
        stream.seek(0)
        if begins != _FILE_MARK:
            reader = ipc.open_stream(stream)
            return reader.schema, reader
        reader = ipc.open_file(stream)
        return reader.schema, map(reader.get_batch, range(reader.num_record_batches))

    return _rows(batches, file, "Arrow")


def _library(name: str, file: str, what: str) -> Any:
    try:
        importlib.import_module("pyarrow")  # A part that was imported before is found without it.
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(f"reading {file} ({what})", "train") from error


def _rows(batches: Any, file: str, what: str) -> Iterator[RawRow]:
    arrow: Any = importlib.import_module("pyarrow")
    number = 0
    try:
        schema, found = batches()
        labels = _label_names(schema.metadata or {})
        for batch in found:
            for values in batch.to_pylist():
                number += 1
                for column, names in labels.items():
                    values[column] = _named(values.get(column), names)
                yield RawRow(values, file, number)
    except (arrow.lib.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{file}: not a readable {what} file ({reason})", hint="is it complete?"
        ) from error


def _label_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of the labels by column, as `datasets.ClassLabel` has them."""
    try:
        features = json.loads(metadata[_FEATURES])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _named(value: object, names: list[str]) -> object:
    """A label by its name; -1 stands for none."""
    if not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None
