"""The one place that names what hfgen uses of other libraries beyond their public interface.

`pyproject.toml` bounds the versions of these libraries; a new private name fails here until it is
listed, and one that a release removes fails too.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import hfgen

PACKAGE = Path(hfgen.__file__).parent
LIBRARIES = ("torch", "transformers", "huggingface_hub", "peft", "accelerate", "typer")
# Private name -> what it is for.
PRIVATE = {
    "torch._int_mm": "products of 8-bit integers on a CPU",
    "torch.ops.mkldnn._is_mkldnn_bf16_supported": "whether the processor has bfloat16 products",
    "torch.ops.mkldnn._linear_pointwise": "products with packed weights",
    "torch.ops.mkldnn._reorder_linear_weight": "packing weights",
}


def private_names(path: Path) -> set[str]:
    """Dotted names that begin with a library and have a part with an underscore in front."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            library, *parts = name.split(".")
            is_private = any(p.startswith("_") and not p.startswith("__") for p in parts)
            if library in LIBRARIES and is_private and "(" not in name:
                found.add(name)
    return found


def test_private_names_are_those_listed() -> None:
    used = set().union(*(private_names(path) for path in PACKAGE.rglob("*.py")))
    assert used == set(PRIVATE)


@pytest.mark.parametrize("name", PRIVATE)
def test_a_listed_name_is_there(name: str) -> None:
    import torch

    owner: object = torch
    for part in name.split(".")[1:]:
        owner = getattr(owner, part)


def test_versions_of_their_libraries_are_bounded() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    bounds = {line.split(">")[0]: line for line in project["project"]["dependencies"]}
    for library in ("torch", "transformers", "huggingface_hub", "typer"):
        assert "<" in bounds[library], bounds[library]
