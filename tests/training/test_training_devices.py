"""One GPU for a training process, by a device count that is made up: there is none here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from hfgen.errors import InvalidOption, UsageError
from hfgen.models.checkpoint.devices import as_current
from hfgen.training.model.devices import own_device
from hfgen.training.options.finetune import TrainingOptions
from hfgen.training.options.pretrain import PretrainOptions
from hfgen.training.planning.plan import make_plan
from hfgen.training.runs.failures import explaining_failures
from hfgen.training.runs.make_trainer import training_arguments
from tests.training.test_plan import FACTS


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two GPUs, and the one that is current, in order of time."""
    seen = ["cuda:0"]

    @contextlib.contextmanager
    def using(device: torch.device) -> Iterator[None]:
        before = seen[-1]
        seen.append(str(device))
        yield
        seen.append(before)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: seen.append(str(device)))
    monkeypatch.setattr(torch.cuda, "device", using)
    for name in ("LOCAL_RANK", "WORLD_SIZE", "RANK", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    yield seen
    AcceleratorState._reset_state(reset_partial_state=True)


def arguments(device: torch.device, folder: Path) -> Any:
    options = TrainingOptions(max_steps=2)
    return training_arguments(options, make_plan(options, FACTS), folder, device)


@pytest.mark.parametrize(
    ("name", "chosen"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")]
)
def test_the_trainer_takes_the_gpu_that_was_chosen_and_no_other(
    name: str, chosen: str, current: list[str], tmp_path: Path
) -> None:
    environment = dict(os.environ)
    made = arguments(own_device(name), tmp_path)
    # With more than one the Trainer would divide each batch among them.
    assert made.n_gpu == 1 and made.train_batch_size == made.per_device_train_batch_size
    assert str(made.device) == str(Accelerator().device) == current[-1] == chosen
    assert dict(os.environ) == environment


def test_a_cpu_is_a_cpu_although_there_are_gpus(current: list[str], tmp_path: Path) -> None:
    made = arguments(own_device("cpu"), tmp_path)
    assert (made.n_gpu, made.device.type, current) == (0, "cpu", ["cuda:0"])


def test_the_gpu_is_current_while_the_run_lasts(current: list[str]) -> None:
    with as_current(torch.device("cuda:1")):
        assert current[-1] == "cuda:1"
    assert current[-1] == "cuda:0"
    with as_current(torch.device("cpu")):
        assert current == ["cuda:0", "cuda:1", "cuda:0"]


def test_processes_of_torchrun_have_a_gpu_each(
    current: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device("auto") == own_device("cuda") == torch.device("cuda:1")
    assert own_device("cpu") == torch.device("cpu")
    with pytest.raises(InvalidOption) as caught:
        own_device("cuda:0")
    assert caught.value.hint == "leave the GPU's number out"


@pytest.mark.parametrize("kind", [TrainingOptions, PretrainOptions])
def test_a_failed_compilation_names_its_setting(kind: Any) -> None:
    from torch._dynamo.exc import Unsupported
    from torch._inductor.exc import InductorError, InvalidCxxCompiler

    asked = kind.from_mapping({"torch_compile": True})
    for reason, hint in (
        (InvalidCxxCompiler(), "install a C++ compiler (g++ or clang++), or leave "),
        (NotImplementedError("some operation"), "leave "),
    ):
        with pytest.raises(UsageError) as caught, explaining_failures(asked):
            raise InductorError(reason, None)
        assert caught.value.message.startswith("torch.compile does not work here: ")
        assert caught.value.hint == hint + "torch_compile out"
    with pytest.raises(UsageError, match="here: no graph"), explaining_failures(asked):
        raise Unsupported("no graph", gb_type="x")
    with pytest.raises(InductorError), explaining_failures(kind()):
        raise InductorError(NotImplementedError("some operation"), None)
