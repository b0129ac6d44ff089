"""Text as it is made, and records when it is done.

Run: python examples/streaming.py
"""

import hfgen

lm = hfgen.load("storyteller")
for piece in lm.stream("Once upon a time", max_new_tokens=40, seed=7):
    print(piece.text, end="", flush=True)
    if piece.record is not None:
        print(f"\n[{piece.record.finish_reason} after {piece.record.completion_tokens} tokens]")

# Prompts are decoded as a batch; their pieces interleave, and `index` tells them apart.
prompts = ["The king", "The queen", "The fox"]
for piece in lm.stream(prompts, max_new_tokens=20, seed=7):
    if piece.record is not None:
        print(piece.index, repr(piece.record.text))
