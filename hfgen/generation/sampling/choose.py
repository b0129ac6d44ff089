"""Each row's next token, from the scores of many rows at once.

Each row's processors see its own unpadded ids; warpers run on the matrix of rows that share
settings (`hfgen.generation.sampling.processors`). Greedy rows take the argmax, others Gumbel-argmax
with noise from (seed, step, token id) (`hfgen.generation.sampling.draw`).
"""

from __future__ import annotations

import torch

from hfgen.errors import GenerationFailed
from hfgen.generation.records import TokenLogprob
from hfgen.generation.sampling.draw import draw
from hfgen.generation.sampling.processors import Processor
from hfgen.generation.sequences import Row, RowEvent
from hfgen.generation.text import Vocabulary
from hfgen.mentions import mention


def choose(rows: list[Row], logits: torch.Tensor, vocabulary: Vocabulary) -> list[RowEvent]:
    """Choose each row's next token from its logits (B, V) and tell the rows."""
    tables = [
        None if row.request.logprobs is None else torch.log_softmax(logits[i], dim=-1)
        for i, row in enumerate(rows)
    ]
    may_be_nan = [bool(row.request.config.remove_invalid_values) for row in rows]
    is_invalid = logits.sum(dim=-1).isnan() & ~torch.tensor(may_be_nan, device=logits.device)
    scores = processed(rows, logits)
    tokens = scores.argmax(dim=-1)
    sampled = [i for i, row in enumerate(rows) if row.request.config.do_sample]
    if sampled:
        seeds = [rows[i].request.seed for i in sampled]
        tokens[sampled] = draw(scores[sampled], seeds, [rows[i].generated for i in sampled])
    is_invalid |= ~(scores.gather(1, tokens[:, None])[:, 0] > -torch.inf)
    events = []
    for row, token_id, broken, table in zip(
        rows, tokens.tolist(), is_invalid.tolist(), tables, strict=True
    ):
        if broken:
            events.append(row.fail(_failure(row)))
        else:
            events.append(_accepted(row, token_id, table, vocabulary))
    return events


def _accepted(
    row: Row, chosen: int, table: torch.Tensor | None, vocabulary: Vocabulary
) -> RowEvent:
    try:
        token_id = row.admit(chosen)
    except GenerationFailed as error:
        return row.fail(error)
    if token_id is None:
        return row.cut()
    return row.accept(token_id, _described(row, table, token_id, vocabulary))


def processed(rows: list[Row], logits: torch.Tensor) -> torch.Tensor:
    """Scores (B, V) after every processor of every row, in as few steps as can be."""
    scores = _row_by_row(rows, logits, [row.processors.by_ids for row in rows])
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.processors.warper_key, []).append(i)
    if len(groups) == 1:
        warped = _warped(rows[0], scores)
    else:
        warped = torch.empty_like(scores)
        for indices in groups.values():
            warped[indices] = _warped(rows[indices[0]], scores[indices])
    return _row_by_row(rows, warped, [row.processors.last for row in rows])


def _row_by_row(
    rows: list[Row], scores: torch.Tensor, chosen: list[tuple[Processor, ...]]
) -> torch.Tensor:
    if not any(chosen):
        return scores
    parts = [row.process(scores[i : i + 1], chosen[i]) for i, row in enumerate(rows)]
    return torch.cat(parts)


def _warped(row: Row, scores: torch.Tensor) -> torch.Tensor:
    for warper in row.processors.warpers:
        # These never look at the ids.
        scores = warper(None, scores)
    return scores


def _described(
    row: Row, table: torch.Tensor | None, token_id: int, vocabulary: Vocabulary
) -> TokenLogprob | None:
    """The token's log-probability and its alternatives, from log-probabilities (V,)."""
    if table is None:
        return None
    text = vocabulary.token_text
    top = torch.topk(table, min(row.request.logprobs or 0, table.numel()))
    return TokenLogprob(
        token_id,
        text(token_id),
        float(table[token_id]),
        tuple(
            (other, text(other), logprob)
            for other, logprob in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ),
    )


def _failure(row: Row) -> GenerationFailed:
    float32 = mention("dtype", "float32")
    if row.processors.by_ids or row.processors.warpers or row.processors.last:
        hint = f"loosen suppress_tokens, bad_words and the like, or try {float32}"
    else:
        hint = f"try {float32}"
    return GenerationFailed(
        f"no token can be sampled at position {row.generated + 1}: all logits are masked or NaN",
        hint=hint,
    )
