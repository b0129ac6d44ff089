"""hfgen: text generation with GPT-style language models, on Hugging Face Transformers.

    import hfgen
    lm = hfgen.load()
    print(lm.generate("Once upon a time", max_new_tokens=50, seed=7).text)
    hfgen.finetune("data.jsonl", output="mine")

Importing this package costs nothing; torch and Transformers are imported by `load`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hfgen.dialogue.chat import Chat
    from hfgen.errors import HfgenError
    from hfgen.generation.options.options import GenerationOptions
    from hfgen.generation.records import Piece, Prompt, Record, TokenLogprob
    from hfgen.language_model import LanguageModel
    from hfgen.loading import load
    from hfgen.scoring.asked import ScoredText
    from hfgen.scoring.texts import TextScore
    from hfgen.tasks.classification import Classification
    from hfgen.tasks.labels import Label
    from hfgen.training.events import Evaluation, Listener, Sample, Step
    from hfgen.training.options.finetune import TrainingOptions
    from hfgen.training.options.pretrain import PretrainOptions
    from hfgen.training.runs.finetuning import finetune
    from hfgen.training.runs.outcome import Finetuned, Pretrained
    from hfgen.training.runs.pretraining import pretrain

# Public name -> module that defines it.
_PUBLIC = {
    "Chat": "hfgen.dialogue.chat",
    "Classification": "hfgen.tasks.classification",
    "Evaluation": "hfgen.training.events",
    "Finetuned": "hfgen.training.runs.outcome",
    "GenerationOptions": "hfgen.generation.options.options",
    "HfgenError": "hfgen.errors",
    "Label": "hfgen.tasks.labels",
    "LanguageModel": "hfgen.language_model",
    "Listener": "hfgen.training.events",
    "Piece": "hfgen.generation.records",
    "PretrainOptions": "hfgen.training.options.pretrain",
    "Pretrained": "hfgen.training.runs.outcome",
    "Prompt": "hfgen.generation.records",
    "Record": "hfgen.generation.records",
    "Sample": "hfgen.training.events",
    "ScoredText": "hfgen.scoring.asked",
    "Step": "hfgen.training.events",
    "TextScore": "hfgen.scoring.texts",
    "TokenLogprob": "hfgen.generation.records",
    "TrainingOptions": "hfgen.training.options.finetune",
    "finetune": "hfgen.training.runs.finetuning",
    "load": "hfgen.loading",
    "pretrain": "hfgen.training.runs.pretraining",
}

__all__ = [
    "Chat",
    "Classification",
    "Evaluation",
    "Finetuned",
    "GenerationOptions",
    "HfgenError",
    "Label",
    "LanguageModel",
    "Listener",
    "Piece",
    "PretrainOptions",
    "Pretrained",
    "Prompt",
    "Record",
    "Sample",
    "ScoredText",
    "Step",
    "TextScore",
    "TokenLogprob",
    "TrainingOptions",
    "finetune",
    "load",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
