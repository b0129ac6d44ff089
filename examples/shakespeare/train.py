"""nanoGPT's published CPU setting for characters, trained with `hfgen pretrain`.

    python examples/shakespeare/train.py tinyshakespeare.txt -o shakespeare
    python examples/shakespeare/train.py tinyshakespeare.txt -o shakespeare --config nanogpt.toml

The first 90 % of the text are learned, the rest is for validation, as in nanoGPT. Told is the mean
cross-entropy of a character of the validation part, in nats. nanoGPT estimates it on random
windows; here all windows count, one behind the other: 64 characters in, the 64 that follow each
predicted once. nanoGPT's README tells 1.88 for this setting.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WINDOW = 64


def split(text: Path, folder: Path) -> tuple[Path, Path]:
    """Cut a text 90 : 10 by position into two files."""
    data = text.read_bytes().decode("utf-8")
    cut = int(len(data) * 0.9)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "train.txt", folder / "validation.txt"
    for path, part in zip(paths, (data[:cut], data[cut:]), strict=True):
        path.write_bytes(part.encode("utf-8"))
    return paths


def character_losses(model: Any, tokenizer: Any, text: str, window: int = WINDOW) -> Any:
    """Nats of every character of the text but the first, in windows: (full, among characters).

    The second is what is left when the other tokens of the vocabulary (the end of texts, and bytes
    of characters that do not occur in the data) are left out of the softmax.
    """
    import torch

    ids = torch.tensor(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)
    if len(ids) != len(text):
        raise ValueError("not a token for each character")
    seen = torch.tensor([len(token) == 1 for token in tokenizer.convert_ids_to_tokens(
        range(len(tokenizer)))])  # fmt: skip
    full, among = [], []
    with torch.no_grad():
        for start in range(0, len(ids) - 1, 256 * window):
            piece = ids[start : start + 256 * window + 1]
            whole = (len(piece) - 1) // window
            rows = [piece[: whole * window].reshape(whole, window)] if whole else []
            targets = [piece[1 : whole * window + 1].reshape(whole, window)] if whole else []
            if (len(piece) - 1) % window:
                rows.append(piece[whole * window : -1].unsqueeze(0))
                targets.append(piece[whole * window + 1 :].unsqueeze(0))
            for inputs, expected in zip(rows, targets, strict=True):
                logits = model(inputs).logits.float()  # (B, T, V)
                chosen = logits.gather(-1, expected.unsqueeze(-1)).squeeze(-1)
                full.append((logits.logsumexp(-1) - chosen).flatten())
                among.append((logits[..., seen].logsumexp(-1) - chosen).flatten())
    return torch.cat(full), torch.cat(among)


def evaluate(folder: Path, text: str) -> tuple[float, float]:
    """Mean nats of a character: by the whole vocabulary, and among characters."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    full, among = character_losses(model, tokenizer, text)
    return full.double().mean().item(), among.double().mean().item()


def main() -> None:
    """Cut the text, train, and tell the loss."""
    parser = argparse.ArgumentParser(description="nanoGPT's setting for characters.")
    parser.add_argument("text", type=Path, help="tinyshakespeare.txt")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--config", default="hfgen.toml", help="hfgen.toml or nanogpt.toml")
    options, more = parser.parse_known_args()
    train, validation = split(options.text, options.output / "data")
    config = HERE / options.config if (HERE / options.config).exists() else options.config
    start = time.perf_counter()
    command = [
        sys.executable, "-m", "hfgen", "pretrain", str(train), "--val-data", str(validation),
        "--config", str(config), "-o", str(options.output / "model"), *more,
    ]  # fmt: skip
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(code)
    wall_s = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    full, among = evaluate(options.output / "model", validation.read_bytes().decode("utf-8"))
    print(f"validation: {full:.4f} nats per character ({full / math.log(2):.4f} bits)")
    print(f"            {among:.4f} among the characters of the text alone")
    print(f"training:   {wall_s:.0f} s by the clock, {used.ru_utime + used.ru_stime:.0f} s of "
          "processor time")  # fmt: skip


if __name__ == "__main__":
    main()
