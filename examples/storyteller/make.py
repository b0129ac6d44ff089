"""Train the model that hfgen ships, from a folder of books.

    python examples/storyteller/make.py BOOKS -o DIR
    python examples/storyteller/make.py BOOKS -o DIR --against OTHER
    python examples/storyteller/make.py BOOKS -o DIR --trained RUN

The books of books.tsv lie in BOOKS as NUMBER_any_name.txt, by their Project Gutenberg numbers. Made
are DIR/first, DIR/second and DIR/run, what `hfgen pretrain` leaves of the three parts of the
training, and DIR/model, the weights in bfloat16. Told are the bits per byte of the held-out books,
of this model and of OTHER. Flags that are none of these go to `hfgen pretrain`, as `--resume`; a
part that is finished is not trained again. `--trained` takes what an earlier run made instead of
training.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WINDOW = 512
_BATCH = 8


def read_list() -> list[dict[str, str]]:
    """The books: id, title, author, held_out (yes or no)."""
    with (HERE / "books.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def find_books(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files of the list in `folder`, by name, and those held out; exits where one lacks."""
    files, held, missing = [], [], []
    for book in read_list():
        found = sorted(folder.glob(f"{book['id']}_*"))
        if len(found) != 1:
            what = "missing" if not found else f"{len(found)} files"
            missing.append(f"{book['id']:>6}  {book['title']}, {book['author']}: {what}")
            continue
        files += found
        held += found if book["held_out"] == "yes" else []
    if missing:
        lines = "\n".join(missing)
        raise SystemExit(f"not in {folder} as NUMBER_any_name.txt:\n{lines}")
    return sorted(files), sorted(held)


def documents(paths: Iterable[Path]) -> Iterator[str]:
    """The stories and chapters of the files, cut as `hfgen pretrain` cuts them."""
    from hfgen.training.corpus.documents import read_documents

    text = ""
    for part in read_documents(list(paths)):
        text += part.text
        if part.is_end:
            yield text
            text = ""


def nats(model: Any, tokenizer: Any, texts: Iterable[str], window: int = WINDOW) -> float:
    """What the texts cost, each by itself: the sum of -log p of every token.

    The first token of a text is predicted from the token that begins texts, else from the one that
    ends them; a tokenizer that has neither pays for it as for a guess. Windows take `window` tokens
    and predict the one behind each, and stand side by side.
    """
    import torch

    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    rows, total = [], 0.0
    for text in texts:
        ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        if start is None:
            total += math.log(len(tokenizer))
        else:
            ids = [start, *ids]
        rows += [ids[at : at + window + 1] for at in range(0, len(ids) - 1, window)]
    rows.sort(key=len)
    for at in range(0, len(rows), _BATCH):
        batch = rows[at : at + _BATCH]
        longest = max(map(len, batch))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        is_real = torch.tensor([[place < len(row) for place in range(longest)] for row in batch])
        with torch.no_grad():
            # Padding stands behind the text, where a model that reads forwards does not see it.
            logits = model(padded[:, :-1]).logits.float()  # (B, T, V)
        targets = padded[:, 1:]
        losses = logits.logsumexp(-1) - logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        total += losses[is_real[:, 1:]].double().sum().item()
    return total


def bits_per_byte(folder: Path, books: list[list[str]], window: int = WINDOW) -> list[float]:
    """Bits for a byte of UTF-8, computed in float32: of all books, and then of each."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    costs = [nats(model, tokenizer, texts, window) / math.log(2) for texts in books]
    sizes = [sum(len(text.encode()) for text in texts) for texts in books]
    each = [cost / size for cost, size in zip(costs, sizes, strict=True)]
    return [sum(costs) / sum(sizes), *each]


def convert(trained: Path, folder: Path) -> None:
    """Write the model in bfloat16, with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(trained, dtype=torch.bfloat16)
    ends = model.config.eos_token_id
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # a package is for everybody to read
    settings = {
        "_from_model_config": True, "bos_token_id": ends, "eos_token_id": ends,
        "output_attentions": False, "output_hidden_states": False,
        "transformers_version": model.config.transformers_version, "use_cache": True,
    }  # fmt: skip
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "generation_config.json").write_text(text, encoding="utf-8")
    shutil.copyfile(trained / "tokenizer.json", folder / "tokenizer.json")
    settings = json.loads((trained / "tokenizer_config.json").read_text(encoding="utf-8"))
    kept = {name: value for name, value in settings.items() if "local" not in name}
    text = json.dumps(kept, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def train(files: list[Path], folder: Path, more: list[str]) -> None:
    """Run `hfgen pretrain` three times, each from what the one before made."""
    parts = {
        "first.toml": folder / "first",
        "second.toml": folder / "second",
        "third.toml": folder / "run",
    }
    begin: list[str] = []
    for config, made in parts.items():
        train_part(files, config, made, [*begin, *more])
        begin = ["-m", str(made)]


def train_part(files: list[Path], config: str, folder: Path, more: list[str]) -> None:
    """Run `hfgen pretrain` unless it is done; exits as it does where it fails."""
    if (folder / "training.json").exists():
        return
    if not (folder / "checkpoints").exists():
        more = [flag for flag in more if flag != "--resume"]
    command = [
        sys.executable, "-m", "hfgen", "pretrain", *map(str, files),
        "--config", str(HERE / config), "-o", str(folder), *more,
    ]  # fmt: skip
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(code)


def main() -> None:
    """Check the books, train, convert, compare."""
    parser = argparse.ArgumentParser(description="Train the model that hfgen ships.")
    parser.add_argument("books", type=Path, help="the folder of the books")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--trained", type=Path, metavar="RUN", help="train nothing; convert this")
    parser.add_argument("--against", type=Path, metavar="OTHER", help="a model to compare with")
    options, more = parser.parse_known_args()
    files, held = find_books(options.books)
    if options.trained and more:
        parser.error(f"nothing is trained, so {more[0]} has no effect")
    if options.trained is None:
        train(files, options.output, more)
    made = options.output / "model"
    convert(options.trained or options.output / "run", made)
    size = (made / "model.safetensors").stat().st_size
    print(f"{made}: {size / 1e6:.1f} MB of weights")
    books = [list(documents([path])) for path in held]
    names = [path.name.partition("_")[0] for path in held]
    for folder in [made, *([options.against] if options.against else [])]:
        whole, *each = bits_per_byte(folder, books)
        parts = ", ".join(f"{n}: {bits:.4f}" for n, bits in zip(names, each, strict=True))
        print(f"{folder}: {whole:.4f} bits per byte of the held-out books ({parts})")


if __name__ == "__main__":
    main()
