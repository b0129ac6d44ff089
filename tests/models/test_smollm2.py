"""A real model from beginning to end: SmolLM2-135M-Instruct as a GGUF file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from smollm2 import smollm2_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NEW_TOKENS = 32
PROMPTS = [
    "Gravity is", "The capital of France", "def fibonacci(n):", "In 1969,", "Once upon a time",
    "To make bread,", "The king", "Water boils at", "“Who’s there?” said", "1 2 3 4", "Dear Sir,",
    "My name is", "Roses are red", "The sun rises in", "A cat and a dog", "SELECT * FROM",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smollm2")


@pytest.fixture(scope="module")
def file(place: Path) -> Path:
    return smollm2_file(place)


@pytest.fixture(autouse=True)
def own_cache(cache: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all tests of this module."""
    monkeypatch.setenv("HFGEN_CACHE_DIR", str(place / "hfgen-cache"))


@pytest.fixture(scope="module")
def dequantized(file: Path) -> Any:
    """The model as Transformers reads the GGUF file itself."""
    import torch
    from transformers import AutoModelForCausalLM

    from hfgen.models.silence import quiet

    with quiet():
        return AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        ).eval()


@pytest.fixture
def lm(file: Path) -> Iterator[Any]:
    import hfgen

    yield hfgen.load(str(file), device="cpu")


def test_cached_load_takes_under_a_second(file: Path) -> None:
    """The second start of a process, beyond its imports: those of the bundled model's load."""
    import hfgen

    hfgen.load(str(file), device="cpu")
    code = (
        "import sys, time, hfgen, transformers.models.llama.modeling_llama\n"
        "hfgen.load('storyteller', device='cpu')\n"
        "began = time.perf_counter()\n"
        "hfgen.load(sys.argv[1], device='cpu')\n"
        "print(time.perf_counter() - began)"
    )
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
    assert min(times) < 1, times


def test_weights_are_those_that_transformers_reads(lm: Any, dequantized: Any) -> None:
    import torch

    expected = dequantized.state_dict()
    found = lm.model.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.fixture(scope="module")
def expected(dequantized: Any) -> Callable[[Any, str], list[int]]:
    """Transformers' greedy continuation of a prompt, computed once."""
    import torch

    known: dict[str, list[int]] = {}

    def continuation(tokenizer: Any, prompt: str) -> list[int]:
        if prompt not in known:
            inputs = tokenizer(prompt, return_tensors="pt")
            with torch.inference_mode():
                ids = dequantized.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
            known[prompt] = ids[0, inputs.input_ids.shape[1] :].tolist()
        return known[prompt]

    return continuation


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_greedy_text_is_that_of_transformers(
    lm: Any, expected: Callable[[Any, str], list[int]], slots: int
) -> None:
    prompts = PROMPTS[: max(4, slots)]
    records = lm.generate(
        prompts, do_sample=False, max_new_tokens=NEW_TOKENS, slots=slots, raw=True
    )
    assert len(records) == len(prompts)
    for prompt, record in zip(prompts, records, strict=True):
        ids = expected(lm.tokenizer, prompt)
        assert len(ids) > 1
        assert list(record.token_ids) == ids, prompt


def test_template_and_generation_config_came_along(lm: Any) -> None:
    ids = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert ids.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert lm.tokenizer.decode([lm.model.generation_config.eos_token_id]) == "<|im_end|>"
    assert lm.window == 8192


# As the template in the Hub's tokenizer_config.json writes it.
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


@pytest.mark.parametrize("system", [None, "Answer in one word."])
def test_an_answer_ends_itself_and_is_right(lm: Any, system: str | None) -> None:
    question = "What is the capital of France?"
    record = lm.generate(question, do_sample=False, system=system)
    prompt = (
        f"<|im_start|>system\n{system or SYSTEM}<|im_end|>\n"
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert record.prompt_tokens == len(lm.tokenizer.encode(prompt))
    assert "Paris" in record.completion
    assert record.finish_reason == "eos"
    assert "<|im" not in record.completion


@pytest.mark.parametrize(
    ("dtype", "slots", "context"),
    [("float32", 1, 512), ("float32", 1, 2048), ("float32", 4, 1024), ("bfloat16", 1, 512)],
)
def test_estimate(file: Path, dtype: str, slots: int, context: int) -> None:
    expect_estimate(file, dtype, slots, context)


@pytest.mark.parametrize(
    ("dtype", "slots", "context"),
    [("float32", 1, 512), ("float32", 1, 1024), ("float32", 8, 512), ("float32", 16, 1024),
     ("bfloat16", 1, 512)],
)  # fmt: skip
def test_estimate_of_the_124m_shape(
    place: Path, tokenizer: Any, dtype: str, slots: int, context: int
) -> None:
    folder = place / "gpt2-124m"
    if not folder.exists():
        import transformers

        config = transformers.GPT2Config(bos_token_id=0, eos_token_id=0)
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    expect_estimate(folder, dtype, slots, context)


def expect_estimate(model: Path, dtype: str, slots: int, context: int) -> None:
    """Compare an estimate with the measured peak beyond the imports, within 15 %."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak is read from Linux's /proc")
    began = time.perf_counter()
    script = Path(__file__).with_name("measure_peak.py")
    done = subprocess.run(
        [sys.executable, str(script), str(model), dtype, str(slots), str(context)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert len(found["prompt_tokens"]) == slots
    assert all(abs(n - context) < 40 for n in found["prompt_tokens"])
    ratio = found["estimated_bytes"] / found["peak_bytes"]
    assert 0.85 <= ratio <= 1.15, (found, time.perf_counter() - began)
