"""Long rows under each policy; which rows are held out."""

from __future__ import annotations

import random

import pytest

from hfgen.errors import DataError, InvalidOption
from hfgen.training.data.encode import EncodedExample
from hfgen.training.data.long_rows import Fitter, LongRowCounts
from hfgen.training.data.split import MIN_ROWS, digest, fingerprint, split


def a_text(length: int) -> EncodedExample:
    return EncodedExample(list(range(length)), [True] * length, is_text=True, place="f:3")


def turns(*lengths: int) -> EncodedExample:
    """A conversation: so many tokens of a prompt, of an answer, of a prompt, …"""
    learned = [i % 2 == 1 for i, n in enumerate(lengths) for _ in range(n)]
    return EncodedExample(list(range(len(learned))), learned, place="f:3")


@pytest.mark.parametrize("window", [2, 3, 8, 9, 10, 11])
def test_windows_learn_every_token_once(window: int) -> None:
    for length in range(2, 40):
        fitter = Fitter(window)
        parts = fitter.fit(a_text(length))
        assert all(2 <= len(part.ids) <= window for part in parts), length
        learned = [
            i
            for p in parts
            for i, is_learned in zip(p.ids, p.is_learned, strict=True)
            if is_learned
        ]
        assert learned == list(range(1, length))
        # Each is predicted from the token before it.
        for part in parts:
            assert part.ids == list(range(part.ids[0], part.ids[-1] + 1)), length
        counts = LongRowCounts(split=1, windows=len(parts)) if len(parts) > 1 else LongRowCounts()
        assert fitter.counts == counts, length


@pytest.mark.parametrize(
    ("policy", "lengths", "kept"),
    [
        ("split", (3, 4), 7),
        ("split", (3, 8), 0),
        ("split", (3, 4, 3, 4), 7),
        ("split", (2, 2, 2, 2, 2, 2), 8),
        ("split", (3, 4, 3, 1), 7),
        ("split", (2, 2, 3, 3), 10),
        ("split", (12, 4), 0),
        ("drop", (3, 8), 0),
        ("drop", (3, 7), 10),
    ],
)
def test_rows_with_prompts_that_are_too_long(
    policy: str, lengths: tuple[int, ...], kept: int
) -> None:
    fitter = Fitter(10, policy)  # type: ignore[arg-type]
    row = turns(*lengths)
    got = fitter.fit(row)
    assert [len(part.ids) for part in got] == ([kept] if kept else [])
    assert [part.ids for part in got] == ([row.ids[:kept]] if kept else [])
    counts = fitter.counts
    assert counts.dropped == (kept == 0)
    assert counts.truncated == (0 < kept < len(row.ids))
    assert counts.split == counts.windows == 0
    if policy == "split" and kept:
        assert got[0].is_learned[-1]


@pytest.mark.parametrize(
    ("lengths", "start"),
    [
        ((3, 8), 1),
        ((10, 4), 4),
        ((20, 9), 19),
        ((20, 10), 15),  # an answer that alone is too long: half a window of its prompt
        ((20, 30), 15),
        ((3, 30), 0),
        ((3, 4, 3, 4), 4),
    ],
)
def test_truncated_prompts_lose_their_beginning(lengths: tuple[int, ...], start: int) -> None:
    fitter = Fitter(10, "truncate")
    row = turns(*lengths)
    (got,) = fitter.fit(row)
    assert got.ids == row.ids[start : start + 10]
    assert any(got.is_learned)
    assert (fitter.counts.truncated, fitter.counts.dropped) == (1, 0)


def test_rows_that_are_left_out_are_named() -> None:
    fitter = Fitter(10)
    for _ in range(5):
        assert fitter.fit(turns(12, 4)) == []
    assert fitter.counts.dropped == 5
    assert fitter.counts.places == ["f:3"] * 3


def test_texts_under_the_other_policies() -> None:
    assert [len(part.ids) for part in Fitter(10, "truncate").fit(a_text(25))] == [10]
    assert Fitter(10, "drop").fit(a_text(25)) == []
    assert len(Fitter(None).fit(a_text(9999))) == 1
    for row in (a_text(11), turns(3, 8)):
        with pytest.raises(DataError, match="f:3: 11 tokens, and rows may have 10"):
            Fitter(10, "error").fit(row)
    with pytest.raises(InvalidOption):
        Fitter(1)


def rows_of(count: int, seed: int = 0) -> list[list[EncodedExample]]:
    rng = random.Random(seed)
    ids = [[rng.randrange(1000) for _ in range(8)] for _ in range(count)]
    return [[EncodedExample(each, [True] * 8)] for each in ids]


def keys(examples: list[EncodedExample]) -> set[bytes]:
    return {digest([example]) for example in examples}


def test_a_row_stays_on_its_side() -> None:
    rows = rows_of(500)
    first = split(rows, 0.1, seed=1)
    assert 25 <= len(first.validation) <= 75
    assert len(first.train) + len(first.validation) == 500
    assert not keys(first.train) & keys(first.validation)
    more = rows_of(300, seed=9) + rows[::-1] + rows[:40]
    second = split(more, 0.1, seed=1)
    assert keys(first.validation) <= keys(second.validation)
    assert keys(first.train) <= keys(second.train)
    assert not keys(second.train) & keys(second.validation)
    assert keys(split(rows, 0.1, seed=2).validation) != keys(first.validation)
    assert keys(first.validation) < keys(split(rows, 0.3, seed=1).validation)


def test_all_that_a_row_became_is_on_one_side() -> None:
    windows = [[*row, EncodedExample([i, i], [True] * 2)] for i, row in enumerate(rows_of(200))]
    got = split(windows, 0.2, seed=0)
    held = keys(got.validation)
    assert all((digest([a]) in held) == (digest([b]) in held) for a, b in windows)
    assert held


def test_one_long_text_is_split_by_windows() -> None:
    rng = random.Random(0)
    ids = [rng.randrange(1000) for _ in range(3000)]
    fitter = Fitter(20)
    first = split([fitter.fit(EncodedExample(ids, [True] * 3000, is_text=True))], 0.2, seed=0)
    assert 15 <= len(first.validation) <= 50
    longer = ids + [5] * 400
    text = EncodedExample(longer, [True] * len(longer), is_text=True)
    second = split([fitter.fit(text)], 0.2, seed=0)
    assert keys(first.validation[:-1]) <= keys(second.validation)


def test_tiny_data_is_not_split() -> None:
    got = split(rows_of(MIN_ROWS - 1), 0.5, seed=0)
    assert (len(got.train), got.validation) == (MIN_ROWS - 1, [])
    assert "49 rows are too few" in str(got.notice)
    same = split(rows_of(3) * 100, 0.5, seed=0)
    assert same.validation == []
    assert split(rows_of(MIN_ROWS), 0.5, seed=0).validation
    none = split(rows_of(100), 0, seed=0)
    assert (len(none.train), none.validation, none.notice) == (100, [], None)
    assert "would hold out no row" in str(split(rows_of(60), 1e-9, seed=0).notice)
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(InvalidOption):
            split(rows_of(100), fraction, seed=0)


def test_fingerprint_changes_with_ids_order_and_what_is_learned() -> None:
    rows = rows_of(5)
    prints = {
        fingerprint(rows),
        fingerprint(rows[::-1]),
        fingerprint(rows[:-1]),
        fingerprint([[EncodedExample(p.ids, [False] * 8) for p in row] for row in rows]),
    }
    assert len(prints) == 4
    assert fingerprint(rows_of(5)) == fingerprint(rows)


@pytest.mark.parametrize(
    ("rows", "windows", "held_out"),
    [
        (1, 14_000, 700),
        (49, 500, 1000),
        (20_000, 1, 1000),
        (1, 100, 16),
        (1, 60, 12),
        (200, 9, 16),
    ],
)
def test_the_default_part_is_of_what_is_split(rows: int, windows: int, held_out: int) -> None:
    from hfgen.training.options.finetune import TrainingOptions
    from hfgen.training.runs.prepare_finetune import _fraction

    data = [[EncodedExample([1, 2], [True, True])] * windows] * rows
    count = rows if rows >= MIN_ROWS else rows * windows
    assert _fraction(TrainingOptions(), data) * count == pytest.approx(held_out)


def test_one_row_is_told_in_the_singular() -> None:
    got = split([[EncodedExample([1, 2], [True, True])]], 0.5, 0)
    assert "1 row is too few" in str(got.notice)
