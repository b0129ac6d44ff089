"""The recipes below `examples/`: their files agree, and their figures are computed right.

The whole runs take minutes and need books; here the parts run on a tiny model.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import math
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load_script(folder: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make() -> ModuleType:
    return load_script("storyteller", "make")


@pytest.fixture(scope="module")
def train() -> ModuleType:
    return load_script("shakespeare", "train")


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    """A GPT-2 with random weights and a token for each character."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from hfgen.training.corpus.tokenizer import train_characters

    tokenizer = train_characters(["To be, or not to be?\nThat is the question."])
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 8}
    config = GPT2Config(**sizes, vocab_size=len(tokenizer), initializer_range=0.5)
    return GPT2LMHeadModel(config).eval(), tokenizer


def cost_of(model: Any, ids: list[int]) -> float:
    """-log p of the last id after the others, one forward pass for one token."""
    import torch

    with torch.no_grad():
        scores = model(torch.tensor([ids[:-1]])).logits[0, -1].double()
    return float(scores.logsumexp(-1) - scores[ids[-1]])


def windowed(model: Any, ids: list[int], window: int) -> float:
    """What ids[1:] cost, each after what stands before it in its window."""
    places = range(1, len(ids))
    return sum(cost_of(model, ids[(p - 1) // window * window : p + 1]) for p in places)


def test_the_storytellers_files_agree(make: ModuleType) -> None:
    books = make.read_list()
    patterns, *others = (
        tomllib.loads((EXAMPLES / "storyteller" / name).read_text())["held_out"]
        for name in ("first.toml", "second.toml", "third.toml")
    )
    assert others == [patterns, patterns]
    numbers = [book["id"] for book in books]
    assert len(set(numbers)) == len(numbers) == 190
    for book in books:
        is_held = any(fnmatch.fnmatchcase(f"{book['id']}_Title.txt", p) for p in patterns)
        assert book["held_out"] == ("yes" if is_held else "no"), book
        assert book["title"] and book["author"]
    assert len(patterns) == sum(book["held_out"] == "yes" for book in books) == 6


def test_the_configurations_are_options_of_pretrain() -> None:
    from hfgen.training.options.pretrain import PretrainOptions

    files = sorted(EXAMPLES.glob("*/*.toml"))
    assert [file.name for file in files] == [
        "hfgen.toml",
        "nanogpt.toml",
        "first.toml",
        "second.toml",
        "third.toml",
    ]
    for file in files:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        given = PretrainOptions.from_mapping(values).given()
        assert given.pop("arguments", {}).items() | given.items() >= {
            (name, value) for name, value in values.items() if not isinstance(value, list)
        }


def test_books_are_found_by_number(make: ModuleType, tmp_path: Path) -> None:
    for book in make.read_list():
        (tmp_path / f"{book['id']}_Any.txt").touch()
    files, held = make.find_books(tmp_path)
    assert (len(files), len(held)) == (190, 6)
    (tmp_path / "54_Any.txt").unlink()
    (tmp_path / "836_Another.txt").touch()
    with pytest.raises(SystemExit) as caught:
        make.find_books(tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        "    54  The Marvellous Land of Oz, L. Frank Baum: missing",
        "   836  The Phoenix and the Carpet, E. Nesbit: 2 files",
    ]


def test_a_finished_part_is_not_trained_again(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> Any:
        commands.append(command[4:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(make.subprocess, "run", run)
    book = tmp_path / "1_A.txt"
    first, second, last = (tmp_path / name for name in ("first", "second", "run"))
    make.train([book], tmp_path, ["--resume"])
    folder = EXAMPLES.resolve() / "storyteller"
    begin = [str(book), "--config", str(folder / "first.toml"), "-o", str(first)]
    middle = [
        *(str(book), "--config", str(folder / "second.toml")),
        *("-o", str(second), "-m", str(first)),
    ]
    end = [str(book), "--config", str(folder / "third.toml"), "-o", str(last), "-m", str(second)]
    assert [[*map(str, command)] for command in commands] == [begin, middle, end]
    commands.clear()
    (first / "checkpoints").mkdir(parents=True)
    (first / "training.json").touch()
    (second / "checkpoints").mkdir(parents=True)
    make.train([book], tmp_path, ["--resume"])
    assert commands == [[*middle, "--resume"], end]


def test_documents_of_books_count_alone_and_in_windows(
    make: ModuleType, tiny: tuple[Any, Any]
) -> None:
    model, tokenizer = tiny
    # Shorter than a window, exactly one, one and a token more, and several.
    texts = ["To", "not to b", "question.", "To be, or not to be?"]
    expected = 0.0
    for text in texts:
        ids = [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]
        expected += windowed(model, ids, 8)
    assert make.nats(model, tokenizer, texts, 8) == pytest.approx(expected, rel=1e-5)
    assert make.nats(model, tokenizer, texts, 4) != pytest.approx(expected, rel=1e-3)


def test_a_tokenizer_without_a_first_token_pays_for_a_guess(
    make: ModuleType, tiny: tuple[Any, Any]
) -> None:
    from transformers import PreTrainedTokenizerFast

    model, tokenizer = tiny
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    ids = tokenizer("not")["input_ids"]
    expected = math.log(len(tokenizer)) + windowed(model, ids, 8)
    assert make.nats(model, bare, ["not"], 8) == pytest.approx(expected, rel=1e-5)


def test_the_converted_model_is_the_trained_one_in_bfloat16(
    make: ModuleType, tiny: tuple[Any, Any], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    model, tokenizer = tiny
    trained, made = tmp_path / "run", tmp_path / "model"
    model.save_pretrained(trained)
    tokenizer.save_pretrained(trained)
    make.convert(trained, made)
    weights = load_file(made / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    for name, weight in load_file(trained / "model.safetensors").items():
        assert torch.equal(weights[name], weight.bfloat16()), name
    text = "or not to be?"
    rounded = make.bits_per_byte(made, [[text], [text, text]], 8)
    cost = make.nats(model, tokenizer, [text], 8) / math.log(2) / len(text)
    assert rounded == pytest.approx([cost] * 3, rel=0.01)


def test_every_character_but_the_first_counts_once(
    train: ModuleType, tiny: tuple[Any, Any]
) -> None:
    model, tokenizer = tiny
    text = "To be, or not to be?\nThat is the question."
    ids = tokenizer(text)["input_ids"]
    for window in (8, 5):
        full, among = train.character_losses(model, tokenizer, text, window)
        assert len(full) == len(text) - 1
        assert full.double().sum().item() == pytest.approx(windowed(model, ids, window), rel=1e-5)
        # Fewer tokens share the probability, so each has more of it.
        assert bool((among < full).all())


def test_the_text_is_cut_nine_to_one(train: ModuleType, tmp_path: Path) -> None:
    text = "ä\nb" * 50 + "\r\n"
    source = tmp_path / "text.txt"
    source.write_bytes(text.encode())
    parts = train.split(source, tmp_path / "parts")
    first, second = (path.read_bytes().decode() for path in parts)
    assert first + second == text
    assert len(first) == int(len(text) * 0.9)


@pytest.mark.slow
def test_the_command_trains_and_tells_the_loss(tmp_path: Path) -> None:
    import subprocess

    source = tmp_path / "text.txt"
    source.write_text("To be, or not to be?\nThat is the question.\n" * 40, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable, EXAMPLES / "shakespeare/train.py", source, "-o", tmp_path / "out",
            "--config", "nanogpt.toml", "--max-steps", "60", "--warmup", "5", "-q",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("validation:")]
    assert len(lines) == 1
    assert float(lines[0].split()[1]) < 3.5
