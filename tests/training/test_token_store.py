"""The token store: the ids of whole documents, each learned once an epoch, told apart by content.

Oracles: `tokenizer.encode` of each document; counting; the files of another run.
"""

from __future__ import annotations

import copy
import errno
import math
import os
import pickle
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hfgen.errors import DataError, InvalidOption, OutputError
from hfgen.training.corpus.documents import Document, read_documents
from hfgen.training.corpus.store import (
    Origin,
    TokenStore,
    build_store,
    fingerprint_of,
    open_store,
)
from hfgen.training.corpus.token_streams import (
    TokenStream,
    bits_per_byte,
    everything,
    split_store,
    stacked,
)
from hfgen.training.data.collators import IGNORED
from hfgen.training.data.split import MIN_ROWS
from hfgen.training.loop.loss import token_loss
from hfgen.training.reading.file_stamps import stamp_files

STORY = "The fox — é 狐狸 🦊 — isn't home;  it went\n\n\tfar <|endoftext|> away, 12 miles. "
ORIGIN = Origin("none", "auto")


def documents(count: int, words: int = 3) -> list[Document]:
    return [Document(f"Story {n}. " + STORY * words, f"d/{n % 7}.txt", 1) for n in range(count)]


def store_of(folder: Path, tokenizer: Any, found: Any) -> TokenStore:
    return build_store(folder / "tokens", found, tokenizer, ORIGIN)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, split_special_tokens=True, verbose=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> TokenStore:
    return store_of(tmp_path_factory.mktemp("store"), tokenizer, documents(200))


def test_ids_are_those_of_whole_documents(tmp_path: Path, tokenizer: Any) -> None:
    # Much longer than a piece; no letter before a space; nothing at all.
    texts = [STORY * 500, "狐" * 9000, "- " * 9000, "x", "a\n" * 5000, " " * 9000]
    made = store_of(tmp_path, tokenizer, [Document(text, "a", 1) for text in texts])
    ends = np.flatnonzero(made.ids == made.eos_id)
    assert len(ends) == made.documents == len(texts)
    got = np.split(made.ids, ends + 1)
    for text, ids in zip(texts, got, strict=False):
        assert tokenizer.decode(ids[:-1]) == text
    for place in (0, 2, 3, 4):
        assert got[place].tolist() == [*ids_of(tokenizer, texts[place]), 0]
    assert made.bytes == sum(len(text.encode()) for text in texts)
    assert made.ids.dtype == np.uint16
    assert tokenizer.encode("<|endoftext|>") == [0]


def test_parts_of_a_document_are_one(tmp_path: Path, tokenizer: Any) -> None:
    parts = [
        Document("Once upon", "a", 1, is_end=False),
        Document(" a time.", "a", 1, is_end=False),
        Document("", "a", 1),
        Document("Twice", "a", 3),
    ]
    made = store_of(tmp_path, tokenizer, parts)
    assert tokenizer.decode(made.ids) == "Once upon a time.<|endoftext|>Twice<|endoftext|>"
    assert made.documents == 2
    assert len(set(made.pieces["document"][:3].tolist())) == 1


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    from hfgen.training.corpus.tokenizer import train_characters

    characters = [chr(0x20000 + n) for n in range(40_000)] + [
        chr(0x4E00 + n) for n in range(26_000)
    ]
    large = train_characters(characters)
    made = store_of(tmp_path, large, [Document(characters[39_999] + "a", "a", 1)])
    assert made.ids.dtype == np.uint32
    assert large.decode(made.ids[:-1]) == characters[39_999] + "a"


def test_nothing_to_encode(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(DataError, match="no text to learn from"):
        store_of(tmp_path, tokenizer, [])
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_token_is_learned_once_in_an_epoch(store: TokenStore, data: st.DataObject) -> None:
    fraction = data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    side = split_store(store, fraction, 3)
    stream = data.draw(st.sampled_from([s for s in (side.train, side.validation) if s]))
    length = data.draw(st.integers(2, 300) | st.just(10**6))
    seed = data.draw(st.none() | st.integers(0, 2**32 - 1))
    windows = stream.windows(length, seed=seed, epoch=data.draw(st.integers(0, 5)))
    rows = [windows[place] for place in range(len(windows))]
    assert {len(row.ids) for row in rows} == {min(length, stream.tokens + 1)}
    learned = np.concatenate([row.labels[row.labels != IGNORED] for row in rows])
    assert len(learned) == stream.tokens
    assert Counter(learned.tolist()) == Counter(stream.read(0, stream.tokens).tolist())
    for row in rows:
        assert row.labels[0] == IGNORED
        assert (row.labels[row.labels != IGNORED] == row.ids[row.labels != IGNORED]).all()


def test_windows_are_the_ring_in_order(store: TokenStore) -> None:
    stream = everything(store)
    windows = stream.windows(100)
    ids = [windows[place].ids for place in range(len(windows) - 1)]
    joined = np.concatenate([ids[0], *(row[1:] for row in ids[1:])])
    assert joined[0] == store.eos_id
    assert (joined[1:] == store.ids[: len(joined) - 1]).all()
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_epochs_are_turned_and_repeatable(store: TokenStore) -> None:
    stream = everything(store)

    def rows(seed: int, epoch: int) -> list[list[int]]:
        windows = stream.windows(64, seed=seed, epoch=0)
        windows.set_epoch(epoch)
        return [windows[place].ids.tolist() for place in range(len(windows))]

    assert rows(1, 0) == rows(1, 0)
    assert len(rows(1, 0)) == len(rows(1, 1))
    assert sorted(rows(1, 0)) != sorted(rows(1, 1)) != sorted(rows(2, 1))


def test_isolated_documents_begin_with_the_eos_before_them(store: TokenStore) -> None:
    windows = everything(store).windows(150, is_isolated=True)
    for place in range(len(windows)):
        row = windows[place]
        expected, position = [], -1
        for token in row.ids:
            position = 0 if token == store.eos_id else position + 1
            expected.append(position)
        assert row.position_ids.tolist() == expected


def test_isolated_rows_do_not_leak(store: TokenStore, model_of: Any) -> None:
    windows = everything(store).windows(128, is_isolated=True)
    row = next(w for w in map(windows.__getitem__, range(9)) if (w.ids[20:100] == 0).any())
    start = 20 + int(np.flatnonzero(row.ids[20:100] == 0)[0])
    batch = stacked([row])
    model = model_of("gpt2")
    with torch.no_grad():
        packed = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        )
        end = start + 1 + int(np.append(np.flatnonzero(row.ids[start + 1 :] == 0), 127)[0])
        alone = model(input_ids=batch["input_ids"][:, start:end], use_cache=False)
    length = alone.logits.shape[1]
    torch.testing.assert_close(
        packed.logits[:, start : start + length], alone.logits, atol=1e-5, rtol=1e-4
    )


def test_batches_are_what_the_loss_takes(store: TokenStore) -> None:
    windows = everything(store).windows(32)
    batch = stacked([windows[0], windows[1]])
    assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
        "input_ids": (torch.Size([2, 32]), torch.int64),
        "labels": (torch.Size([2, 32]), torch.int64),
    }
    total, count = token_loss(torch.zeros(2, 32, 4096), batch["labels"])
    assert count == 62
    assert float(total) / count == pytest.approx(math.log(4096))


def test_the_trainer_goes_through_each_epochs_rows(
    tmp_path: Path, store: TokenStore, model_of: Any
) -> None:
    from transformers import TrainingArguments

    from hfgen.training.loop.trainer import TokenTrainer

    stream = split_store(store, 0.9, 1).train
    seen: list[list[int]] = []

    def collate(windows: Any) -> dict[str, torch.Tensor]:
        seen.extend(window.ids.tolist() for window in windows)
        return stacked(windows)

    arguments = TrainingArguments(
        output_dir=str(tmp_path), train_sampling_strategy="sequential", num_train_epochs=3,
        per_device_train_batch_size=4, use_cpu=True, save_strategy="no", report_to=[],
        disable_tqdm=True, learning_rate=0.0,
    )  # fmt: skip
    model = copy.deepcopy(model_of("gpt2"))
    data = stream.windows(64, seed=5)
    TokenTrainer(model, arguments, train_dataset=data, data_collator=collate).train()
    epochs = [stream.windows(64, seed=5, epoch=epoch) for epoch in range(3)]
    assert seen == [rows[place].ids.tolist() for rows in epochs for place in range(len(rows))]


def test_bits_per_byte_of_a_uniform_model(store: TokenStore) -> None:
    """A uniform model over V tokens needs log2 V bits for each, EOS included."""
    stream = everything(store)
    got = bits_per_byte(math.log(4096), stream.tokens, stream.bytes)
    assert got == pytest.approx(12 * stream.tokens / stream.bytes)
    assert stream.bytes == sum(len(document.text.encode()) for document in documents(200))


def test_sides_share_no_document_and_lose_none(store: TokenStore) -> None:
    split = split_store(store, 0.2, 42)
    assert split.validation is not None and split.notice is None
    train, validation = split.train, split.validation
    assert train.tokens + validation.tokens == store.tokens
    assert train.bytes + validation.bytes == store.bytes
    assert train.documents + validation.documents == store.documents
    assert 20 < validation.documents < 60

    def found(stream: TokenStream) -> set[tuple[int, ...]]:
        ids = stream.read(0, stream.tokens)
        return {tuple(part) for part in np.split(ids, np.flatnonzero(ids == 0) + 1) if len(part)}

    assert not found(train) & found(validation)
    assert len(found(train) | found(validation)) == 200
    again = split_store(store, 0.2, 43).validation
    assert again is not None and found(again) != found(validation)


def test_a_document_stays_on_its_side(tmp_path: Path, tokenizer: Any) -> None:
    some = documents(120)
    first = store_of(tmp_path / "1", tokenizer, some)
    more = store_of(tmp_path / "2", tokenizer, [*documents(150)[120:], *reversed(some), some[0]])
    sides = []
    for made in (first, more):
        val = split_store(made, 0.3, 1).validation
        assert val is not None
        sides.append(set(tokenizer.decode(val.read(0, val.tokens)).split("Story ")[1:]))
    known = {document.text.removeprefix("Story ") for document in some}
    assert sides[0] == {t for t in sides[1] if t.removesuffix("<|endoftext|>") in known}


def test_few_documents_are_split_at_their_end(tmp_path: Path, tokenizer: Any) -> None:
    made = store_of(tmp_path, tokenizer, documents(MIN_ROWS - 1, 200))
    split = split_store(made, 0.1, 1)
    assert split.notice == (
        "validation: the last 10 % of the text (49 documents are too few to choose from)"
    )
    assert split.validation is not None
    assert split.validation.tokens == pytest.approx(0.1 * made.tokens, rel=0.05)
    last = split.validation.read(0, split.validation.tokens)
    assert (last == made.ids[-len(last) :]).all()
    tiny = store_of(tmp_path, tokenizer, documents(1, 1))
    split = split_store(tiny, 0.1, 1)
    assert (split.validation, split.notice) == (None, "no validation: there is too little text")
    assert split_store(made, 0, 1).validation is None


def test_whole_files_can_be_held_out(store: TokenStore, tokenizer: Any) -> None:
    split = split_store(store, 0.05, 1, held_out=["3.txt", "d/[45].*"])
    assert split.validation is not None
    text = tokenizer.decode(split.validation.read(0, split.validation.tokens))
    numbers = {int(part.split(".")[0]) for part in text.split("Story ")[1:]}
    assert numbers == {n for n in range(200) if n % 7 in (3, 4, 5)}
    with pytest.raises(InvalidOption, match=r"held_out = '9.txt'"):
        split_store(store, 0.05, 1, held_out=["9.txt"])
    with pytest.raises(InvalidOption, match="not all"):
        split_store(store, 0.05, 1, held_out=["*"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(STORY * 40)
    return folder


def test_a_store_is_used_again_until_something_changes(
    data: Path, tmp_path: Path, tokenizer: Any
) -> None:
    origin = Origin(fingerprint_of(tokenizer), "auto")
    folder = tmp_path / "run" / "tokens"
    assert open_store(folder, origin, [data]) is None
    made = build_store(folder, read_documents([data]), tokenizer, origin, stamp_files([data]))
    again = open_store(folder, origin, [data])
    assert again is not None and (again.ids == made.ids).all()
    assert (again.tokens, again.documents, again.bytes) == (made.tokens, 123, made.bytes)
    # The same content at another place and time.
    shutil.copytree(data, tmp_path / "moved")
    assert open_store(folder, origin, [tmp_path / "moved"]) is not None
    assert open_store(folder, Origin(origin.tokenizer, "none"), [data]) is None
    assert open_store(folder, Origin("other", "auto"), [data]) is None
    # One letter, the size unchanged.
    (data / "1.txt").write_text((STORY * 40).replace("fox", "box", 1))
    assert open_store(folder, origin, [data]) is None
    assert open_store(folder, origin) is not None
    (data / "1.txt").write_text(STORY * 40)
    assert open_store(folder, origin, [data]) is not None
    (data / "3.txt").write_text("One more.")
    assert open_store(folder, origin, [data]) is None


@pytest.mark.parametrize("damage", ["tokens.bin", "pieces.npy", "index.json"])
def test_a_damaged_store_is_none(tmp_path: Path, tokenizer: Any, damage: str) -> None:
    made = store_of(tmp_path, tokenizer, documents(3))
    file = made.folder / damage
    file.write_bytes(file.read_bytes()[:-9])
    assert open_store(made.folder, ORIGIN) is None


def test_an_interrupted_build_leaves_the_old_store(tmp_path: Path, tokenizer: Any) -> None:
    made = store_of(tmp_path, tokenizer, documents(3))

    def interrupted() -> Iterator[Document]:
        yield from documents(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_of(tmp_path, tokenizer, interrupted())
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]
    kept = open_store(made.folder, ORIGIN)
    assert kept is not None and kept.documents == 3


def test_a_full_disk(tmp_path: Path, tokenizer: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OutputError, match="cannot write") as caught:
            store_of(tmp_path, tokenizer, documents(500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.strerror(errno.EFBIG) in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_progress_and_pickles(tmp_path: Path, tokenizer: Any) -> None:
    done: list[int] = []
    made = build_store(tmp_path / "t", documents(3), tokenizer, ORIGIN, progress=done.append)
    assert done == [made.bytes]
    dumped = pickle.dumps(split_store(made, 0.0, 1).train.windows(16, seed=1))
    assert len(dumped) < 3000
    assert (pickle.loads(dumped)[1].ids == everything(made).windows(16, seed=1)[1].ids).all()


def test_a_short_window_is_refused(store: TokenStore) -> None:
    with pytest.raises(InvalidOption, match="max_length"):
        everything(store).windows(1)
    with pytest.raises(InvalidOption, match="val_split"):
        split_store(store, 1.0, 1)
