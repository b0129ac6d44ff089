from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hfgen.models.naming import catalogue
from hfgen.models.naming.catalogue import CATALOGUE

ALIASES = [
    "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "cerebras-gpt", "gpt2-chinese",
    "dialogpt-small", "dialogpt-medium", "dialogpt-large", "codeparrot-small",
    "smollm2", "smollm2-360m", "smollm2-1.7b", "smollm3", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b",
    "llama3.2-1b", "llama3.2-3b", "gemma3-270m", "gemma3-1b",
    "gpt3", "gpt3-ada", "gpt3-babbage", "gpt3-curie", "gpt3-davinci",
    "gpt4", "gpt4-mini", "gpt4-nano", "storyteller",
]  # fmt: skip

_GPT2 = {"vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}
_MEDIUM = _GPT2 | {"n_embd": 1024, "n_layer": 24, "n_head": 16}
_LARGE = _GPT2 | {"n_embd": 1280, "n_layer": 36, "n_head": 20}
_NEOX = {"tie_word_embeddings": False, "max_position_embeddings": 2048}
_SMOLLM2 = {"vocab_size": 49152, "max_position_embeddings": 8192, "tie_word_embeddings": True}
_SMOLLM2_135M = _SMOLLM2 | {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3,
}  # fmt: skip
_QWEN3_4B = {
    "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "head_dim": 128,
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
    "tie_word_embeddings": True,
}  # fmt: skip
_LLAMA = {
    "vocab_size": 128256, "intermediate_size": 8192, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip
_GEMMA3 = {
    "vocab_size": 262144, "head_dim": 256, "num_attention_heads": 4, "num_key_value_heads": 1,
    "max_position_embeddings": 32768,
}  # fmt: skip
_QWEN3 = {
    "vocab_size": 151936, "num_hidden_layers": 28, "num_attention_heads": 16, "head_dim": 128,
    "num_key_value_heads": 8, "max_position_embeddings": 40960, "tie_word_embeddings": True,
}  # fmt: skip
# The shapes in the models' own config.json.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", _GPT2),
    "gpt2-medium": ("GPT2Config", _MEDIUM),
    "gpt2-large": ("GPT2Config", _LARGE),
    "gpt2-xl": ("GPT2Config", _GPT2 | {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
    "distilgpt2": ("GPT2Config", _GPT2 | {"n_layer": 6}),
    "cerebras-gpt": ("GPT2Config", _GPT2 | {"n_layer": 10, "n_inner": 3072, "n_positions": 2048}),
    "gpt2-chinese": ("GPT2Config", _GPT2 | {"vocab_size": 21128}),
    "dialogpt-small": ("GPT2Config", _GPT2),
    "dialogpt-medium": ("GPT2Config", _MEDIUM),
    "dialogpt-large": ("GPT2Config", _LARGE),
    "codeparrot-small": ("GPT2Config", _GPT2 | {"vocab_size": 32768}),
    "smollm2": ("LlamaConfig", _SMOLLM2_135M),
    "smollm2-360m": (
        "LlamaConfig",
        _SMOLLM2 | {
            "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32,
            "num_attention_heads": 15, "num_key_value_heads": 5,
        },
    ),
    "smollm2-1.7b": (
        "LlamaConfig",
        _SMOLLM2 | {
            "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
            "num_attention_heads": 32, "num_key_value_heads": 32,
        },
    ),
    "smollm3": (
        "SmolLM3Config",
        {
            "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008,
            "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4,
            "max_position_embeddings": 65536, "tie_word_embeddings": True,
        },
    ),
    "qwen3-0.6b": (
        "Qwen3Config",
        _QWEN3 | {"hidden_size": 1024, "intermediate_size": 3072},
    ),
    "qwen3-1.7b": (
        "Qwen3Config",
        _QWEN3 | {"hidden_size": 2048, "intermediate_size": 6144},
    ),
    "qwen3-4b": ("Qwen3Config", _QWEN3_4B | {"max_position_embeddings": 40960}),
    "llama3.2-1b": (
        "LlamaConfig",
        _LLAMA | {
            "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
            "head_dim": 64,
        },
    ),
    "llama3.2-3b": (
        "LlamaConfig",
        _LLAMA | {"hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24},
    ),
    "gemma3-270m": (
        "Gemma3TextConfig",
        _GEMMA3 | {"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18},
    ),
    "gemma3-1b": (
        "Gemma3TextConfig",
        _GEMMA3 | {"hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26},
    ),
    "gpt3": (
        "GPTNeoConfig",
        {
            "vocab_size": 50257, "hidden_size": 2048, "num_layers": 24, "num_heads": 16,
            "attention_types": [[["global", "local"], 12]], "max_position_embeddings": 2048,
        },
    ),
    "gpt3-ada": (
        "GPTNeoXConfig",
        _NEOX | {
            "vocab_size": 50304, "hidden_size": 1024, "num_hidden_layers": 24,
            "num_attention_heads": 16, "intermediate_size": 4096,
        },
    ),
    "gpt3-babbage": (
        "GPTNeoXConfig",
        _NEOX | {
            "vocab_size": 50304, "hidden_size": 2048, "num_hidden_layers": 24,
            "num_attention_heads": 16, "intermediate_size": 8192,
        },
    ),
    "gpt3-curie": (
        "GPTJConfig",
        {
            "vocab_size": 50400, "n_embd": 4096, "n_layer": 28, "n_head": 16, "rotary_dim": 64,
            "n_positions": 2048, "tie_word_embeddings": False,
        },
    ),
    "gpt3-davinci": (
        "GPTNeoXConfig",
        _NEOX | {
            "vocab_size": 50432, "hidden_size": 6144, "num_hidden_layers": 44,
            "num_attention_heads": 64, "intermediate_size": 24576,
        },
    ),
    "gpt4": (
        "GptOssConfig",
        {
            "vocab_size": 201088, "hidden_size": 2880, "intermediate_size": 2880, "head_dim": 64,
            "num_hidden_layers": 24, "num_local_experts": 32, "num_attention_heads": 64,
            "num_key_value_heads": 8, "max_position_embeddings": 131072,
        },
    ),
    "gpt4-mini": (
        "Qwen3Config",
        _QWEN3_4B | {"max_position_embeddings": 262144},
    ),
    "gpt4-nano": (
        "LlamaConfig",
        _SMOLLM2_135M,
    ),
    "storyteller": (
        "GPT2Config",
        {"vocab_size": 4096, "n_embd": 256, "n_layer": 6, "n_head": 4, "n_positions": 512},
    ),
}  # fmt: skip


def test_aliases() -> None:
    assert list(CATALOGUE) == ALIASES
    assert [entry.alias for entry in CATALOGUE.values() if entry.is_bundled] == [
        catalogue.BUNDLED_ALIAS
    ]
    for is_stand_in in (False, True):
        repos = [
            entry.repo_id
            for entry in CATALOGUE.values()
            if entry.repo_id and bool(entry.stands_in_for) == is_stand_in
        ]
        assert len(set(repos)) == len(repos)


@pytest.mark.parametrize("alias", ALIASES)
def test_parameters_and_window_follow_from_the_shape(alias: str) -> None:
    import torch
    import transformers

    config_class, shape = SHAPES[alias]
    config = getattr(transformers, config_class)(**shape)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    entry = CATALOGUE[alias]
    assert sum(weight.numel() for weight in model.parameters()) == entry.parameters
    assert config.max_position_embeddings == entry.window


def test_gated_models_are_marked() -> None:
    """Those that ask for consent on the Hub: Meta's and Google's."""
    gated = {alias for alias, entry in CATALOGUE.items() if entry.is_gated}
    assert gated == {"llama3.2-1b", "llama3.2-3b", "gemma3-270m", "gemma3-1b"}


def test_stand_ins_say_for_whom_and_why() -> None:
    for alias, entry in CATALOGUE.items():
        is_stand_in = alias.startswith(("gpt3", "gpt4"))
        assert (entry.stands_in_for is not None) == is_stand_in == (entry.why is not None), alias
        notice = catalogue.stand_in_notice(entry)
        if is_stand_in:
            assert entry.why and entry.why.endswith(".") and entry.why.count(". ") == 0
            assert notice == (
                f"{alias}'s weights are not public: using {entry.repo_id} in its place"
            )
        else:
            assert notice is None


def test_stand_ins_for_gpt3_are_in_order_of_size() -> None:
    sizes = [
        CATALOGUE[f"gpt3-{name}"].parameters for name in ("ada", "babbage", "curie", "davinci")
    ]
    assert sizes == sorted(sizes)


def test_entry_of_a_repository() -> None:
    for repo_id in ("openai-community/gpt2", "gpt2"):
        entry = catalogue.entry_of(repo_id)
        assert entry is not None and entry.alias == "gpt2"
    assert catalogue.entry_of("me/gpt2") is None


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("gtp2", "gpt2"),
        ("GPT2-large", "gpt2-large"),
        ("storyteler", "storyteller"),
        ("zebra", None),
    ],
)
def test_suggests_the_nearest_alias(wrong: str, near: str | None) -> None:
    assert catalogue.suggest(wrong) == near


def test_suggests_among_other_names() -> None:
    assert catalogue.suggest("me/my-modle", ["me/my-model", "you/other"]) == "me/my-model"


def test_resolving_a_folder_imports_no_heavy_library(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    program = (
        "import sys\n"
        "from hfgen.models.naming.resolve import resolve\n"
        "from hfgen.models.checkpoint.layout import check_folder\n"
        "from hfgen.models.checkpoint.devices import check_device_name, check_dtype_name\n"
        "import hfgen.models.checkpoint.load\n"
        "check_device_name('cuda:1'); check_dtype_name('bf16')\n"
        "check_folder(resolve('storyteller').path)\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'safetensors', 'tokenizers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_finding_a_cached_model_imports_no_torch() -> None:
    program = (
        "import sys\n"
        "from hfgen.models.naming.resolve import resolve\n"
        "resolve(None)\n"
        "assert not {'torch', 'transformers', 'httpx2'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
