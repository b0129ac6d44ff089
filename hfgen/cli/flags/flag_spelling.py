"""Options as the command line writes them, for the messages of errors.

Imports only the standard library, so that explaining an error costs no start-up time.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfgen.generation.options.specs import Spec


_SHORT = {"model": "-m", "output": "-o"}


def flag_name(name: str) -> str:
    """The flag of an option or parameter: its name with dashes."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class FlagSpelling:
    """Flags, and `-O name` for options without one."""

    typed: Mapping[str, str] = field(default_factory=dict)
    """Options as they were typed, or as they stand elsewhere."""
    flag_of: Callable[[str], str] = flag_name
    specs: Mapping[str, Spec] = field(default_factory=dict)

    def option(self, name: str) -> str:
        """The long flag; `-O name` where it was typed so."""
        is_assigned = self.typed.get(name, "").startswith("-O")
        return f"-O {name}" if is_assigned else self.flag_of(name)

    def setting(self, name: str, value: str | float | bool) -> str:
        """The shortest thing to type."""
        flag = self.flag_of(name)
        if flag.startswith("-O"):
            return f"{flag}={str(value).lower() if isinstance(value, bool) else value}"
        also = self.specs[name].flags if name in self.specs else ()
        if value is True:
            return flag
        if value is False:
            negative = next((flag for flag in also if flag.startswith("/")), "")
            return negative[1:] or flag.replace("--", "--no-", 1)
        short = next((flag for flag in also if len(flag) == 2), _SHORT.get(name, flag))
        return f"{short} {shlex.quote(str(value))}"

    def given(self, name: str, value: str) -> str:
        """As it was typed; what nobody typed, with its value."""
        return self.typed.get(name) or f"{name} = {value}"
