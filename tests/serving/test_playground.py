"""The page at `/`, in a browser where one is at hand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import PROGRAM, Browser


def test_the_page_needs_nothing_from_elsewhere(server):
    answer = server.http.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    addresses = re.findall(r"(?:src=|href=|url\()[\"']?([^\"'\s>)]*)", answer.text)
    assert [address for address in addresses if not address.startswith("data:")] == []


@pytest.fixture
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    if PROGRAM is None:
        pytest.skip("no Chromium here")
    opened = Browser(**getattr(request, "param", {}))
    try:
        yield opened
    finally:
        opened.close()


def picture(browser: Any, name: str) -> None:
    """Keep a picture where somebody wants to look at it."""
    if folder := os.environ.get("HFGEN_TEST_PICTURES"):
        browser.picture(Path(folder) / f"{name}.png")


def open_page(browser: Any, server: Any) -> None:
    browser.send("Page.navigate", url=server.url)
    browser.wait_for("document.querySelectorAll('#model option').length === 3")


@pytest.mark.slow
@pytest.mark.parametrize(
    "browser",
    [{"width": 1200}, {"width": 400, "height": 1300, "is_dark": True}],
    indirect=True,
    ids=["wide", "narrow"],
)
def test_a_text_is_completed(server, lm_named, browser):
    open_page(browser, server)
    browser.run(
        "document.getElementById('seed').value = 7; document.getElementById('prompt').focus()"
    )
    browser.press("Enter", 13, has_ctrl=True)
    browser.wait_for("document.getElementById('status').textContent.includes('tokens in')")
    record = lm_named("story").generate("Once upon a time", seed=7, max_new_tokens=120)
    assert browser.run("document.getElementById('output').textContent") == record.text
    # By the keyboard, how likely a token was.
    browser.run("document.getElementById('output').focus()")
    for _ in range(4):
        browser.press("ArrowRight", 39)
    tip = browser.run("document.getElementById('tip').textContent")
    assert browser.run("document.querySelectorAll('#tip tr').length") >= 5
    assert "%" in tip
    width = browser.run("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "nothing sticks out to the right"
    picture(browser, "completion-dark" if width[1] < 800 else "completion")
    assert browser.errors == []


@pytest.mark.slow
def test_a_talk_an_answer_that_is_stopped_and_an_error(server, browser):
    open_page(browser, server)
    browser.run("document.getElementById('tab-chat').click()")
    browser.run("document.getElementById('model').value = 'story'")
    browser.run("document.getElementById('prompt').value = 'Who is the king?'")
    browser.run("document.getElementById('prompt').focus()")
    browser.press("Enter", 13, text="\r")
    browser.wait_for("document.getElementById('status').textContent.includes('tokens in')")
    kinds = browser.run(
        "[...document.querySelectorAll('#output .message')].map((m) => m.className)"
    )
    assert kinds == ["message user", "message assistant"]
    picture(browser, "chat")
    browser.run("document.getElementById('tab-completion').click()")
    browser.run("document.getElementById('max_tokens').value = 490")
    browser.run("document.getElementById('go').click()")
    browser.wait_for("document.querySelectorAll('#output .token').length > 3")
    browser.press("Escape", 27)
    browser.wait_for("document.getElementById('stop').disabled")
    assert "ended by stopped" in browser.run("document.getElementById('status').textContent")
    browser.run("document.getElementById('max_tokens').value = 99999")
    browser.run("document.getElementById('go').click()")
    browser.wait_for("document.getElementById('error').textContent.includes('window is 512')")
    assert browser.errors == []
