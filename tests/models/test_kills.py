"""A download that is killed again and again ends with the same files."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from stand_ins import StandInHub, environment
from test_faults import assert_no_bad_file_is_good

from hfgen.errors import HubUnreachable
from hfgen.models.naming.resolve import resolve

KILLS = 30
WEIGHTS_BYTES = 6_000_000


def one_tensor(size: int, seed: int) -> bytes:
    """A valid safetensors file of that many bytes of noise."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(size)


@pytest.mark.slow
def test_thirty_kills(hub: StandInHub, tiny_folder: Path, tmp_path: Path, cache: Path) -> None:
    offer = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    names = [f"model-{i}-of-2.safetensors" for i in (1, 2)]
    offer |= {name: one_tensor(WEIGHTS_BYTES // 2, i) for i, name in enumerate(names)}
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    del offer["model.safetensors"]
    offer["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.repos["org/name"] = offer
    hub.pause_s = 0.03
    command = [sys.executable, "-m", "hfgen", "models", "pull", "org/name"]
    env = environment(tmp_path, HF_ENDPOINT=hub.url)
    chance = random.Random(7)
    kills = finished = resumed = 0
    while kills < KILLS:
        seen = len(hub.requests)
        with subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as run:
            while len(hub.requests) == seen and run.poll() is None:
                threading.Event().wait(0.01)
            # Not time.sleep, which the fixture cuts short.
            threading.Event().wait(chance.uniform(0.0, 1.2))
            if run.poll() is None:
                os.kill(run.pid, signal.SIGKILL)
                kills += 1
                resumed += any(cache.rglob("*.hfgen.incomplete"))
            _, err = run.communicate()
        assert run.returncode in (0, -signal.SIGKILL), err
        assert_no_bad_file_is_good(cache, offer)
        if run.returncode == 0:
            finished += 1
            found = resolve("org/name", offline=True)
            assert {file.name: file.read_bytes() for file in found.path.iterdir()} == offer
            shutil.rmtree(cache)
        else:
            try:
                found = resolve("org/name", offline=True)
            except HubUnreachable:
                continue
            assert {file.name: file.read_bytes() for file in found.path.iterdir()} == offer
    hub.pause_s = 0.0
    last = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert last.returncode == 0, last.stderr
    found = resolve("org/name", offline=True)
    assert {file.name: file.read_bytes() for file in found.path.iterdir()} == offer
    assert not list(cache.rglob("*.incomplete"))
    assert resumed >= KILLS // 2
    print(f"{kills} kills, {resumed} of them amid a file, {finished} runs finished in between")
