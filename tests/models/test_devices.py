from __future__ import annotations

from pathlib import Path

import pytest

from hfgen.errors import DeviceUnavailable, InvalidOption
from hfgen.models.checkpoint.devices import (
    SHORT_NAMES,
    check_device_name,
    check_dtype_name,
    choose_device,
    choose_dtype,
)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:0", "cuda:12", "mps"])
def test_device_names(name: str) -> None:
    assert check_device_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "gpu", "cuda:", "cuda:-1", "cuda:01", "cpu:0", "CPU", "cuda:1\n"]
)
def test_wrong_device_names(name: str) -> None:
    with pytest.raises(InvalidOption, match="auto, cpu, cuda, cuda:N or mps"):
        check_device_name(name)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("fp32", "float32"),
        ("bf16", "bfloat16"),
        ("fp16", "float16"),
        ("float16", "float16"),
        ("auto", "auto"),
    ],
)
def test_dtype_names(name: str, full: str) -> None:
    assert check_dtype_name(name) == full


@pytest.mark.parametrize("name", ["", "int8", "float64", "half", "torch.float32"])
def test_wrong_dtype_names(name: str) -> None:
    with pytest.raises(InvalidOption, match="auto, float32, bfloat16 or float16"):
        check_dtype_name(name)


@pytest.mark.parametrize("name", ["fp32", "float32", "bf16", "bfloat16", "fp16", "float16"])
def test_short_and_long_names_load_and_train_alike(name: str, tiny_folder: Path) -> None:
    import hfgen
    from hfgen.setting_names import SETTINGS
    from hfgen.training.options.finetune import TrainingOptions
    from hfgen.training.options.pretrain import PretrainOptions

    long = check_dtype_name(name)
    loaded = hfgen.load(str(tiny_folder), device="cpu", dtype=name)
    assert str(loaded.model.dtype) == f"torch.{long}"
    assert SETTINGS["dtype"].read_word(name) == SETTINGS["dtype"].read_typed(name) == long
    for kind in (TrainingOptions, PretrainOptions):
        assert kind(precision=name).precision == SHORT_NAMES[long]


def test_automatic_choice_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device = choose_device("auto")
    assert device.type == "cpu"
    assert choose_dtype("auto", device) is torch.float32
    assert choose_dtype("bf16", device) is torch.bfloat16
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(DeviceUnavailable) as caught:
            choose_device(name)
        assert 'device="cpu"' in (caught.value.hint or "")


def test_automatic_choice_with_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceUnavailable, match="no device cuda:2: this machine has 2 CUDA GPUs"):
        choose_device("cuda:2")
