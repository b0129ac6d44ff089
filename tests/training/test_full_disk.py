"""A disk that fills up: told in words, with what to type next, and nothing whole is lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hfgen.errors import OutputError
from hfgen.models.atomic_folder import explained
from hfgen.training.checkpoints.checkpoints import find_checkpoints, written_checkpoint
from hfgen.training.corpus.tokenizer import save_tokenizer, train_characters

resource = pytest.importorskip("resource")
LIMIT = 20_000


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Have the system refuse to write more into a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def torch_file(folder: Path) -> None:
    torch.save({"a": torch.ones(LIMIT)}, folder / "optimizer.pt")


def safetensors_file(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(LIMIT)}, folder / "model.safetensors")


def numpy_file(folder: Path) -> None:
    import numpy as np

    np.save(folder / "a.npy", np.ones(LIMIT))


def text_file(folder: Path) -> None:
    (folder / "a.json").write_text("a" * 2 * LIMIT)


@pytest.mark.parametrize("write", [torch_file, safetensors_file, numpy_file, text_file])
@pytest.mark.parametrize("has_earlier", [False, True])
def test_a_checkpoint_that_cannot_be_written(
    write: Callable[[Path], None], has_earlier: bool, tmp_path: Path
) -> None:
    if has_earlier:
        (tmp_path / "checkpoint-1").mkdir()
    before = find_checkpoints(tmp_path)
    with (
        pytest.raises(OutputError, match=r"cannot write .*checkpoint-2: ") as caught,
        files_of_at_most(LIMIT),
        written_checkpoint(tmp_path, 2, is_writer=True) as place,
    ):
        place.mkdir()
        write(place)
    assert ("resume=True" in (caught.value.hint or "")) == has_earlier
    assert find_checkpoints(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == [path.name for path in before]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),
    ],
)
def test_no_room_is_told_in_the_same_words(error: Exception, tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="no space left to write") as caught,
        explained(tmp_path, hint="buy one"),
    ):
        raise error
    assert caught.value.hint == "buy one"


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="inline_container"), explained(tmp_path):
        raise RuntimeError("about inline_container, but not of it")


def test_a_tokenizer_that_cannot_be_written(tmp_path: Path) -> None:
    tokenizer: Any = train_characters(chr(n) for n in range(0x4E00, 0x5E00))
    with pytest.raises(OutputError, match="cannot write"), files_of_at_most(LIMIT):
        save_tokenizer(tokenizer, tmp_path / "tokenizer")
