"""The engine's own copy of a model on a CPU: weights packed for decoding, or 8-bit integers.

`prepared` decides, `packed` holds the matrices, `gpt2` is GPT-2's forward pass without the rest.
"""
