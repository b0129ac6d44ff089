"""The prompts of a request as part of its answer: their texts, and their tokens' probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hfgen.generation.prompts.encode import Reading
from hfgen.generation.records import Prompt, TokenLogprob
from hfgen.scoring.scorer import Request
from hfgen.serving.service import Service
from hfgen.serving.worker import Worker

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel

# Prompts scored before running texts get their next step.
_AT_ONCE = 16

Encoded = tuple[tuple[int, ...], str]


class Echo:
    """What is said of each prompt."""

    def __init__(self, prompts: Sequence[Prompt], reading: Reading) -> None:
        self.texts: list[str] = []
        self.ids: list[tuple[int, ...]] = []
        self.scores: list[list[TokenLogprob]] = []
        """Empty where they were not asked for."""
        self._prompts = prompts
        self._reading = reading

    async def compute(self, service: Service, worker: Worker, top: int | None) -> None:
        """Have the model read the prompts; `top` alternatives for each token, None for no score."""
        for start in range(0, len(self._prompts), _AT_ONCE):
            batch = self._prompts[start : start + _AT_ONCE]

            def encode(lm: LanguageModel, batch: Sequence[Prompt] = batch) -> list[Encoded]:
                return [_encode(lm, prompt, self._reading) for prompt in batch]

            encoded = await service.call(worker, encode)
            self.ids += [ids for ids, _ in encoded]
            self.texts += [text for _, text in encoded]
            if top is not None:
                most = top

                def score(
                    lm: LanguageModel, encoded: list[Encoded] = encoded, top: int = most
                ) -> list[list[TokenLogprob]]:
                    return _score(lm, [ids for ids, _ in encoded], top)

                self.scores += await service.call(worker, score)


def _encode(lm: LanguageModel, prompt: Prompt, reading: Reading) -> Encoded:
    ids = tuple(lm.encode(prompt, reading).ids)
    return ids, prompt.text or str(
        lm.tokenizer.decode(list(ids))
    ) if prompt.token_ids else prompt.text


def _score(
    lm: LanguageModel, prompts: Sequence[tuple[int, ...]], top: int
) -> list[list[TokenLogprob]]:
    """Every token's log-probability after those before it; that of the first one is 0."""
    requests = [Request(ids[:1], ids[1:]) for ids in prompts if len(ids) > 1]
    found = iter(lm.scorer().score(requests, top=top))
    scored = []
    for ids in prompts:
        tokens = [TokenLogprob(ids[0], "", 0.0)]
        if len(ids) > 1:
            scores = next(found)
            tops = scores.top or ((),) * len(scores.logprobs)
            for token_id, logprob, best in zip(ids[1:], scores.logprobs, tops, strict=True):
                others = tuple((other, "", value) for other, value in best)
                tokens.append(TokenLogprob(token_id, "", logprob, others))
        scored.append(tokens)
    return scored
