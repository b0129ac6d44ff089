"""What the code promises about itself: one-way imports, a silent library, a public surface."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from keywords import WRITTEN

import hfgen

PACKAGE = Path(hfgen.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
# A layer may import those after it, and its own.
LAYERS = [
    "cli", "settings", "setting_names", "evaluation", "explain", "batch", "bench", "serving",
    "coding", "training", "loading", "language_model", "dialogue", "tasks", "scoring", "generation",
    "models", "config_file", "toml_text", "claims", "atomic", "text_io", "distributed", "errors",
    "mentions",
]  # fmt: skip


def layer_of(module: str) -> int | None:
    parts = module.split(".")
    if parts[0] != "hfgen" or len(parts) < 2 or parts[1] not in LAYERS:
        return None
    return LAYERS.index(parts[1])


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            # `from hfgen import cli` is an import of hfgen.cli.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


NAMES = {module_name(path).removesuffix(".__init__") for path in MODULES}


def test_every_module_has_a_layer() -> None:
    own = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert own - {"__init__", "__main__"} == set(LAYERS)


def test_imports_run_one_way() -> None:
    upward = [
        f"{module_name(path)} imports {module}"
        for path in MODULES
        if (own := layer_of(module_name(path))) is not None
        for module in imports_of(path)
        if (other := layer_of(module)) is not None and other < own
    ]
    assert upward == []


def imported_modules(path: Path) -> set[str]:
    """Modules of hfgen that a module imports when it runs; those for types alone do not count."""
    tree = tree_of(path)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    return {
        found
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and id(node) not in for_types
        for alias in node.names
        for found in [f"{node.module}.{alias.name}", node.module or ""]
        if found in NAMES
    }


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = {module_name(path): imported_modules(path) for path in MODULES}

    def reached(name: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(imports.get(name, ()))
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += imports.get(module, ())
        return seen

    assert [name for name in imports if name in reached(name)] == []


def test_no_folder_is_a_crowd() -> None:
    crowds = {
        str(folder.relative_to(PACKAGE))
        for folder in {path.parent for path in MODULES}
        if len(list(folder.glob("*.py"))) > 17  # its __init__ and 16 modules
    }
    assert crowds == set()


def test_the_library_never_prints_and_never_exits() -> None:
    library = [
        path
        for path in MODULES
        if "cli" not in path.relative_to(PACKAGE).parts and path.name != "__main__.py"
    ]
    calls = [
        f"{path}:{node.lineno}"
        for path in library
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "sys.exit", "exit", "os._exit")
    ]
    assert library and calls == []


def test_public_names() -> None:
    assert hfgen.__all__ == [
        "Chat",
        "Classification",
        "Evaluation",
        "Finetuned",
        "GenerationOptions",
        "HfgenError",
        "Label",
        "LanguageModel",
        "Listener",
        "Piece",
        "PretrainOptions",
        "Pretrained",
        "Prompt",
        "Record",
        "Sample",
        "ScoredText",
        "Step",
        "TextScore",
        "TokenLogprob",
        "TrainingOptions",
        "finetune",
        "load",
        "pretrain",
    ]
    assert dir(hfgen) == sorted([*hfgen.__all__, "__version__"])
    for name in hfgen.__all__:
        assert getattr(hfgen, name).__doc__, name
    with pytest.raises(AttributeError):
        _ = hfgen.nothing  # type: ignore[attr-defined]


def test_keywords_are_those_of_the_options() -> None:
    update = os.environ.get("HFGEN_TEST_UPDATE_KEYWORDS")
    for path, write in WRITTEN.items():
        if update:
            path.write_text(write(), encoding="utf-8")
        assert path.read_text(encoding="utf-8") == write(), (
            "an option has changed: HFGEN_TEST_UPDATE_KEYWORDS=1 pytest tests/test_structure.py"
        )


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, hfgen; print([m for m in ('torch', 'transformers', 'typer', 'rich',"
        " 'huggingface_hub', 'hfgen.language_model') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
