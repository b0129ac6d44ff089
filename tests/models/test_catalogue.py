from __future__ import annotations

import subprocess
import sys

import pytest

from hfgen.models import catalogue


def test_the_gpt2_family_and_the_bundled_model() -> None:
    assert {alias: entry.repo_id for alias, entry in catalogue.CATALOGUE.items()} == {
        "gpt2": "openai-community/gpt2",
        "gpt2-medium": "openai-community/gpt2-medium",
        "gpt2-large": "openai-community/gpt2-large",
        "gpt2-xl": "openai-community/gpt2-xl",
        "distilgpt2": "distilbert/distilgpt2",
        "storyteller": None,
    }
    assert [entry.alias for entry in catalogue.CATALOGUE.values() if entry.is_bundled] == [
        catalogue.BUNDLED_ALIAS
    ]


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
        "from hfgen.models.resolve import resolve\n"
        "from hfgen.models.folder import check_folder\n"
        "from hfgen.models.devices import check_device_name, check_dtype_name\n"
        "import hfgen.models.load\n"
        "check_device_name('cuda:1'); check_dtype_name('bf16')\n"
        "check_folder(resolve('storyteller').path)\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'safetensors', 'tokenizers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_finding_a_cached_model_imports_no_torch() -> None:
    program = (
        "import sys\n"
        "from hfgen.models.resolve import resolve\n"
        "resolve(None)\n"
        "assert not {'torch', 'transformers', 'httpx2'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
