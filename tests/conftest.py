"""Fixtures for every test: tiny random models on the bundled tokenizer, no network."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import hfgen
from hfgen.models.naming.catalogue import CATALOGUE
from hfgen.models.naming.resolve import ResolvedModel
from tests import warm

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores; OpenMP threads of several processes would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
for _name in [name for name in os.environ if name.startswith("HFGEN_")]:
    if not _name.startswith("HFGEN_TEST_"):
        del os.environ[_name]

# A shell that starts the tests in the background has them ignore interruptions; the programs that
# they start would inherit that.
for _signal, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _handler)

BUNDLED = Path(hfgen.__file__).parent / "models" / "bundled" / "storyteller"

_SMALL = {"bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.25}
_LLAMA = _SMALL | {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
# Architecture -> (configuration class, its arguments).
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", _SMALL | {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}),
    "gpt_neo": (
        "GPTNeoConfig",
        _SMALL | {
            "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 128,
            "attention_types": [[["global", "local"], 1]], "window_size": 8,
        },
    ),
    "gptj": (
        "GPTJConfig",
        _SMALL | {
            "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4,
            "tie_word_embeddings": False,
        },
    ),
    "gpt_neox": (
        "GPTNeoXConfig",
        _SMALL | {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 64, "max_position_embeddings": 128,
        },
    ),
    "opt": (
        "OPTConfig",
        _SMALL | {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64,
            "max_position_embeddings": 128, "word_embed_proj_dim": 32, "init_std": 0.25,
        },
    ),
    "gpt_bigcode": (
        "GPTBigCodeConfig",
        _SMALL | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    ),
    "llama": ("LlamaConfig", _LLAMA),
    "qwen2": ("Qwen2Config", _LLAMA),
    "mistral": ("MistralConfig", _LLAMA | {"sliding_window": 8}),
    "gemma3": (
        "Gemma3TextConfig",
        _LLAMA | {
            "head_dim": 8, "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "bloom": ("BloomConfig", _SMALL | {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
}  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Workers of pytest-xdist share the servers of warm programs, which import meanwhile."""
    if getattr(config.option, "numprocesses", None):
        warm.share()


@pytest.fixture(scope="session", autouse=True)
def no_config_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody's own settings, aliases and conversations reach a test; the folders are empty."""
    os.environ["HFGEN_CONFIG_DIR"] = str(tmp_path_factory.mktemp("no-config"))
    os.environ["HFGEN_DATA_DIR"] = str(tmp_path_factory.mktemp("no-data"))


@pytest.fixture(scope="session", autouse=True)
def no_models_in_packages(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Packages with models that happen to be installed are hidden, from programs too."""
    folder = tmp_path_factory.mktemp("no-packages")
    for package in {entry.package for entry in CATALOGUE.values() if entry.package}:
        (folder / package.replace("-", "_")).mkdir()
        (folder / package.replace("-", "_") / "__init__.py").touch()
    sys.path.insert(0, str(folder))
    others = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([others] if others else [])])


@pytest.fixture(scope="module", autouse=True)
def nothing_old_to_collect() -> None:
    """What lives when a file begins, the libraries above all, is passed over by the collector.

    Every run of training collects garbage, which otherwise walks a million objects of torch and
    transformers each time.
    """
    gc.collect()
    gc.freeze()


def build_model(name: str, **changes: Any) -> Any:
    """A random model of an architecture, always the same one."""
    import torch
    import transformers

    config_class, arguments = ARCHITECTURES[name]
    arguments = {"vocab_size": 4096, "pad_token_id": None} | arguments | changes
    config = getattr(transformers, config_class)(**arguments)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).float().eval()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The bundled byte-level BPE tokenizer (4,096 tokens)."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BUNDLED)


@pytest.fixture(scope="session")
def model_of() -> Callable[[str], Any]:
    """Random models by architecture, built once."""
    built: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in built:
            built[name] = build_model(name)
        return built[name]

    return get


@pytest.fixture(scope="session")
def lm_of(model_of: Callable[[str], Any], tokenizer: Any) -> Callable[[str], Any]:
    """`LanguageModel`s over the random models."""
    return lambda name: wrap(model_of(name), tokenizer)


def wrap(model: Any, tokenizer: Any) -> Any:
    """A `LanguageModel` over a model and tokenizer at hand."""
    from hfgen.language_model import LanguageModel

    window = getattr(model.config, "max_position_embeddings", None)
    loaded = SimpleNamespace(
        model=model,
        tokenizer=tokenizer,
        window=window,
        is_chat=bool(tokenizer.chat_template),
        resolved=ResolvedModel(model.config.model_type, BUNDLED, "folder"),
    )
    return LanguageModel(loaded)
