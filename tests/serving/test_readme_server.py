"""README's answers of the server are what the server answers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
FREE = re.compile(r'(?<="id":")[^"]*|(?<="created":)\d+')


def test_curl(server):
    blocks = re.findall(r"```sh-session\n(\$ curl.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert blocks
    # The models of the fixture have other names.
    url = {"http://127.0.0.1:8000": server.url}
    for block in blocks:
        for command, expected in re.findall(r"^\$ (.*)\n((?!\$).*)\n", block, re.MULTILINE):
            for old, new in url.items():
                command = command.replace(old, new)
            done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
            if done.returncode == 127:
                pytest.skip("no curl here")
            shown = done.stdout.decode().replace('"model":"story"', '"model":"storyteller"')
            assert FREE.sub("…", shown) == FREE.sub("…", expected)
