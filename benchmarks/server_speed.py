"""Tokens a second of a running `hfgen serve`: many clients at once against one after the other.

    hfgen serve -m storyteller &
    python benchmarks/server_speed.py http://127.0.0.1:8000 --clients 16

Both ways alternate, so that a busy machine slows both.
"""

# ruff: noqa: T201  (a program that prints)
from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial


def ask(url: str, seed: int, *, tokens: int) -> int:
    """Have one text generated; return its tokens."""
    body = {"prompt": "The king", "max_tokens": tokens, "seed": seed, "ignore_eos": True}
    request = urllib.request.Request(
        f"{url}/v1/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return int(json.load(answer)["usage"]["completion_tokens"])


def speed(url: str, *, clients: int, texts: int, tokens: int) -> float:
    """Tokens a second of so many clients."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        total = sum(pool.map(partial(ask, url, tokens=tokens), range(texts)))
    return total / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=5)
    wanted = parser.parse_args()
    both = {1: [], wanted.clients: []}
    for _ in range(wanted.pairs):
        for clients, found in both.items():
            texts = wanted.clients if clients == 1 else 4 * wanted.clients
            found.append(speed(wanted.url, clients=clients, texts=texts, tokens=wanted.tokens))
    for clients, found in both.items():
        print(f"{clients} at once: {statistics.median(found):,.0f} tokens/s "
              f"({min(found):,.0f} to {max(found):,.0f})")  # fmt: skip
    ratios = [many / one for one, many in zip(*both.values(), strict=True)]
    print(f"{statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
