"""Detecting the watermark that `--watermark` leaves (Kirchenbauer et al. 2023, KGW).

Every token is green or red depending on the tokens before it; a watermarked text has more green
ones than the share expected by chance. What is tested: the number of green tokens among the
distinct token pairs (repetitions would be counted as evidence again and again).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hfgen.errors import DataError


@dataclass(frozen=True)
class Detection:
    """What was found in one text."""

    tokens: int
    """Distinct tokens in context that were scored."""
    green_tokens: int
    expected_green_tokens: float
    z_score: float
    p_value: float
    """Chance of so many green tokens, or more, in a text without this watermark."""
    is_watermarked: bool
    """Whether the z-score exceeds the threshold."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


def detect(
    token_ids: Sequence[int],
    *,
    vocabulary_size: int,
    settings: Mapping[str, Any],
    z_threshold: float = 3.0,
) -> Detection:
    """Look for a watermark in the token ids of a text, its prompt left out if possible.

    `settings` are those the text was generated with (`watermarking_config`), and
    `vocabulary_size` is that of the model's configuration. Raises `DataError` for a text that is
    too short to tell.
    """
    import torch
    from transformers import PretrainedConfig, WatermarkDetector, WatermarkingConfig

    config = WatermarkingConfig(**settings)
    if len(token_ids) < config.context_width + 2:
        raise DataError(
            f"the text is too short to tell (tokens: {len(token_ids)})",
            hint="give a longer text, and the model that wrote it (-m)",
        )
    model_config = PretrainedConfig(vocab_size=vocabulary_size, bos_token_id=-1)
    detector = WatermarkDetector(model_config, "cpu", config, ignore_repeated_ngrams=True)
    found = detector(torch.tensor([list(token_ids)]), z_threshold=z_threshold, return_dict=True)
    scored = int(found.num_tokens_scored[0])
    return Detection(
        tokens=scored,
        green_tokens=int(found.num_green_tokens[0]),
        expected_green_tokens=scored * config.greenlist_ratio,
        z_score=float(found.z_score[0]),
        p_value=float(found.p_value[0]),
        is_watermarked=bool(found.prediction[0]),
    )
