"""Choosing tokens: greedy, or Gumbel-argmax with noise from a stateless hash.

Adding independent Gumbel noise to log-probabilities and taking the largest sum draws from the
distribution exactly (Gumbel 1954; Maddison et al. 2014, section 2). Here the noise of a token is
a hash of (seed, step, token id), nothing else, so the draw does not depend on the batch, the
order of rows or a resume. The hash is SplitMix64 (Steele, Lea and Flood 2014): its stream, begun
at a state that mixes seed and step, read at the token's index.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_SEED_BITS = 53


def _signed(value: int) -> int:
    """The same 64 bits as a signed integer, as torch holds them."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _mix(value: int) -> int:
    """SplitMix64's output function on a Python integer."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * _MIX_1) & _MASK
    value = ((value ^ (value >> 27)) * _MIX_2) & _MASK
    return value ^ (value >> 31)


def _mix_tensor(value: torch.Tensor) -> torch.Tensor:
    """`_mix` on an int64 tensor; torch shifts arithmetically, so the sign bits are masked off."""
    value = value ^ ((value >> 30) & ((1 << 34) - 1))
    value = value * _signed(_MIX_1)
    value = value ^ ((value >> 27) & ((1 << 37) - 1))
    value = value * _signed(_MIX_2)
    return value ^ ((value >> 31) & ((1 << 33) - 1))


def stream_state(seed: int, step: int) -> int:
    """The state at which the noise of one step begins."""
    return _mix(_mix(seed + _GAMMA) + step * _GAMMA)


def sample_seed(seed: int, sample: int) -> int:
    """The seed of a prompt's `sample`-th text; the first one keeps the prompt's own seed."""
    if sample == 0:
        return seed
    return _mix(stream_state(seed, sample) ^ _GAMMA) >> (64 - _SEED_BITS)


def gumbel_noise(states: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise, float64, for pairs of a stream state and a token id.

    `states` and `token_ids` are int64 tensors of one shape.
    """
    bits = _mix_tensor(states + (token_ids + 1) * _signed(_GAMMA))
    # 52 bits and a half are exact in a double, and never 0 or 1.
    uniform = (((bits >> 12) & ((1 << 52) - 1)).double() + 0.5) * 2.0**-52
    return -torch.log(-torch.log(uniform))


def draw(scores: torch.Tensor, seeds: Sequence[int], steps: Sequence[int]) -> torch.Tensor:
    """Draw one token id a row from unnormalised log-probabilities.

    `scores` is (B, V), -inf where a token is excluded; the result is (B,), int64, on the same
    device. Every row needs at least one token that is not excluded.
    """
    device = scores.device
    if device.type == "mps":  # has no float64
        scores = scores.cpu()
    states = torch.tensor(
        [_signed(stream_state(seed, step)) for seed, step in zip(seeds, steps, strict=True)],
        dtype=torch.long,
        device=scores.device,
    )
    rows, tokens = torch.nonzero(scores > -torch.inf, as_tuple=True)
    noisy = scores[rows, tokens].double() + gumbel_noise(states[rows], tokens)
    return _argmax_by_row(noisy, rows, tokens, scores).to(device)


def _argmax_by_row(
    noisy: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor, scores: torch.Tensor
) -> torch.Tensor:
    """The token with the largest of `noisy` in each row of `scores`, the first of equal ones."""
    best = noisy.new_full((len(scores),), -torch.inf)
    best = best.scatter_reduce(0, rows, noisy, "amax")
    is_best = noisy == best[rows]
    chosen = tokens.new_zeros((len(scores),))
    return chosen.scatter_reduce(0, rows[is_best], tokens[is_best], "amin", include_self=False)
