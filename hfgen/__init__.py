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
    from hfgen.errors import HfgenError
    from hfgen.generation.options import GenerationOptions
    from hfgen.generation.records import Piece, Prompt, Record, TokenLogprob
    from hfgen.language_model import LanguageModel, load
    from hfgen.training.finetuning import Finetuned, finetune
    from hfgen.training.options import TrainingOptions
    from hfgen.training.pretrain_options import PretrainOptions
    from hfgen.training.pretraining import Pretrained, pretrain
    from hfgen.training.progress import Evaluation, Listener, Sample, Step

# Public name -> module that defines it.
_PUBLIC = {
    "Evaluation": "hfgen.training.progress",
    "Finetuned": "hfgen.training.finetuning",
    "GenerationOptions": "hfgen.generation.options",
    "HfgenError": "hfgen.errors",
    "LanguageModel": "hfgen.language_model",
    "Listener": "hfgen.training.progress",
    "Piece": "hfgen.generation.records",
    "PretrainOptions": "hfgen.training.pretrain_options",
    "Pretrained": "hfgen.training.pretraining",
    "Prompt": "hfgen.generation.records",
    "Record": "hfgen.generation.records",
    "Sample": "hfgen.training.progress",
    "Step": "hfgen.training.progress",
    "TokenLogprob": "hfgen.generation.records",
    "TrainingOptions": "hfgen.training.options",
    "finetune": "hfgen.training.finetuning",
    "load": "hfgen.language_model",
    "pretrain": "hfgen.training.pretraining",
}

__all__ = [
    "Evaluation",
    "Finetuned",
    "GenerationOptions",
    "HfgenError",
    "LanguageModel",
    "Listener",
    "Piece",
    "PretrainOptions",
    "Pretrained",
    "Prompt",
    "Record",
    "Sample",
    "Step",
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
