"""`hfgen merge` as users run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import run_program, run_without_torch

from tests import warm

pytest.importorskip("peft")


def run(*arguments: str, **env: str) -> Any:
    return run_program([warm.program()], ["merge", *arguments], None, env)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on the bundled model, far from neutral."""
    import torch

    from hfgen.models.checkpoint.load import load
    from hfgen.models.checkpoint.load_options import LoadOptions
    from hfgen.models.naming.resolve import resolve
    from hfgen.training.model.lora import attach
    from hfgen.training.options.finetune import TrainingOptions

    torch.manual_seed(0)
    base = resolve("storyteller")
    options = TrainingOptions(lora=True, lora_r=2, lora_target=("attention",))
    adapted = attach(load(base, LoadOptions(device="cpu")).model, options, base)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    folder = tmp_path_factory.mktemp("adapters") / "poems-lora"
    adapted.save_pretrained(folder)
    return folder


def test_merging(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "poems"
    done = run(str(adapter), "-o", str(out))
    assert (done.code, done.err) == (0, ""), done
    first, second = done.out.splitlines()
    size = f"{sum(file.stat().st_size for file in out.iterdir()) / 1e6:.0f} MB"
    assert first == f"{out}: storyteller with {adapter}, 5,918,720 parameters, float32, {size}"
    assert second.startswith("its logits differ from the adapter's by ")
    assert float(second.split()[-4]) <= 1e-5
    # Both generate the same text, which is not the base's.
    texts = [
        run_program(
            [warm.program()],
            ["generate", "-m", str(model), "Once upon a time", "-n", "20", "--temperature", "0"],
            None, {},
        ).out
        for model in (out, adapter, "storyteller")
    ]  # fmt: skip
    assert texts[0] == texts[1] != texts[2]
    # Nothing is overwritten unasked.
    before = (out / "model.safetensors").stat().st_mtime_ns
    again = run(str(adapter), "-o", str(out))
    again.assert_error(1, f"{out} already exists", "--overwrite")
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    assert run(str(adapter), "-o", str(out), "--overwrite").code == 0
    assert (out / "model.safetensors").stat().st_mtime_ns != before


def test_json(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "poems"
    done = run(str(adapter), "-o", str(out), "--json", "--dtype", "bf16")
    assert (done.code, done.err) == (0, ""), done
    record = json.loads(done.out)
    assert 1e-5 < record.pop("difference") < 0.1
    assert record == {
        "folder": str(out), "adapter": str(adapter), "base": "storyteller", "dtype": "bfloat16",
        "parameters": 5918720, "size_bytes": sum(file.stat().st_size for file in out.iterdir()),
        "notices": [],
    }  # fmt: skip


def test_the_dtype_of_the_config_file_is_generate_s(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('dtype = "bfloat16"\n')
    out = tmp_path / "poems"
    done = run(str(adapter), "-o", str(out), "--json", HFGEN_CONFIG_DIR=str(tmp_path))
    assert json.loads(done.out)["dtype"] == "float32", done


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        ((), 2, "missing argument", "hfgen merge --help"),
        (("ADAPTER",), 2, "no folder to write was named", "-o DIR"),
        (("ADAPTER", "-o", ""), 2, "--output needs a name", "-o DIR"),
        (("ADAPTER", "-o", "OUT", "--dtype", "int8"), 2, "--dtype int8: must be", ""),
        (("./none", "-o", "OUT"), 1, "there is no folder './none' with an adapter", "finetune"),
        (("gpt2", "-o", "OUT"), 1, "there is no folder 'gpt2' with an adapter", "finetune"),
        (("BASE", "-o", "OUT"), 1, "is a whole model, not an adapter", "hfgen generate -m"),
        (("ADAPTER", "-o", "ADAPTER"), 2, "holds what is read for it", "-o"),
        (("ADAPTER", "-o", "NONE/x"), 1, "there is no folder", "make it first"),
        (("BROKEN", "-o", "OUT"), 1, "there is no folder /nowhere", "adapter_config.json"),
        (("ADAPTER", "-o", "FULL"), 1, "already exists", "another folder"),
    ],
)
def test_errors(
    adapter: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str, hint: str
) -> None:
    import hfgen

    broken = tmp_path / "broken"
    broken.mkdir()
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/nowhere"
    (broken / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    base = Path(hfgen.__file__).parent / "models" / "bundled" / "storyteller"
    places = {
        "ADAPTER": str(adapter), "OUT": str(tmp_path / "out"), "BASE": str(base),
        "NONE/x": str(tmp_path / "none" / "x"), "BROKEN": str(broken),
        "FULL": str(tmp_path / "full"),
    }  # fmt: skip
    done = run_without_torch("merge", *(places.get(argument, argument) for argument in arguments))
    done.assert_error(code, message, hint)
    assert not (tmp_path / "out").exists()


def test_help() -> None:
    done = run("--help")
    assert (done.code, done.err) == (0, "")
    assert "hfgen merge poems-lora -o poems" in done.out
