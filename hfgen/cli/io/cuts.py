"""Texts that end by a length that nobody asked for: they look finished, and are not."""

from __future__ import annotations

from dataclasses import dataclass

from hfgen.generation.options.options import GenerationOptions
from hfgen.generation.records import Record


@dataclass
class Cuts:
    """Counts them, and says in one line what gives longer ones."""

    options: GenerationOptions
    window: int | None
    _texts: int = 0
    _by_default: int = 0
    _by_window: int = 0
    _longest: int = 0
    """New tokens of the longest text that was cut."""

    def add(self, record: Record) -> None:
        """Take a finished text."""
        self._texts += 1
        if record.finish_reason != "length" or self.options.max_new_tokens is not None:
            return
        tokens = record.prompt_tokens + record.completion_tokens
        slides = self.options.overflow == "slide"
        if self.window is not None and tokens >= self.window and not slides:
            self._by_window += 1
        else:
            self._by_default += 1
        self._longest = max(self._longest, record.completion_tokens)

    @property
    def notice(self) -> str | None:
        """What the user should know; None where no text was cut."""
        count = self._by_default + self._by_window
        if not count:
            return None
        who = "" if self._texts == 1 else f"{count} of {self._texts} texts were "
        if self._by_default:
            return f"{who}cut at {self._longest:,} tokens; -n for more"
        end = f"the context window of {self.window:,} tokens is full"
        return f"{who}cut at {self._longest:,} tokens: {end}; --overflow slide -n N for more"
