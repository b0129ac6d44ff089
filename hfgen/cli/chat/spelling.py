"""Options as the dialogue's commands write them, for the messages of errors."""

from __future__ import annotations

from hfgen.mentions import PythonSpelling


class ChatSpelling(PythonSpelling):
    """`/set NAME VALUE`."""

    def setting(self, name: str, value: str | float | bool) -> str:
        """What to type."""
        shown = str(value).lower() if isinstance(value, bool) else value
        return f"/set {name} {shown}"

    def given(self, name: str, value: str) -> str:
        """The name and its value."""
        return f"{name} {value}"
