"""The end of a block by brackets, which are counted outside strings and comments."""

from __future__ import annotations

import re

from hfgen.coding.languages import Family
from hfgen.coding.masks import BRACKETS, PAIRS, Bracket, Context, advance, closed_brackets
from hfgen.coding.masks import open_brackets as open_at_end
from hfgen.coding.words import CONTINUES, first_word, is_container, is_control, may_become

_LEAD = 400
_SIGNS = re.compile(r"[(\[{}\]);\n]")
_NAMES = re.compile(r"[ \t]*[\w \t,*]*;")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


class Bracketed:
    """Finds the end by brackets; see `hfgen.coding.blocks.Finder`."""

    def __init__(
        self, context: Context, suffix: str, family: Family, *, is_innermost: bool
    ) -> None:
        """`suffix` is the masked text that follows, where the cursor is within a text."""
        self._context = context
        self._blocks = "{" if family is Family.BRACED else BRACKETS
        self._open = open_at_end(context.mask)
        self._floor = min(closed_brackets(suffix), len(self._open))
        tail = context.mask[context.mask.rfind("\n") + 1 :]
        # What the headers of new blocks may begin in.
        self._lead = context.mask[-_LEAD:]
        self._has_begun = bool(tail.strip()) and not tail.rstrip().endswith(("{", "}", ";"))
        self._target = self._chosen(is_innermost=is_innermost)
        self._outer = self._outer_depth()

    def look(self, text: str, *, is_whole: bool) -> tuple[int, int | None]:
        """Up to the bracket that closes the block, and what belongs to it on its line."""
        lead = len(self._lead)
        sure, end = self._look(self._lead + self._context.read(text), is_whole=is_whole)
        return max(0, sure - lead), None if end is None else max(0, end - lead)

    def _look(self, mask: str, *, is_whole: bool) -> tuple[int, int | None]:
        """The same in masked text with the lines before it."""
        stack = list(self._open)
        has_opened = False
        for found in _SIGNS.finditer(mask, len(self._lead)):
            at, char = found.start(), found[0]
            is_complete = is_whole or mask.find("\n", at) >= 0
            closed = None
            if char in "\n;":
                is_end = not has_opened and self._ends_statement(mask, at, len(stack))
                end = len(mask[:at].rstrip()) if char == "\n" else at + 1
            elif char in PAIRS:
                closed = advance(stack, mask, at)
                if closed is None and len(stack) > len(self._open):
                    continue
                if closed is None or len(stack) < self._floor:
                    cut = len(mask[:at].rstrip())
                    return cut, cut if is_complete else None
                is_end, end = self._ends_block(closed, len(stack)), at + 1
            else:
                advance(stack, mask, at)
                has_opened = has_opened or char in self._blocks
                continue
            if not is_end:
                continue
            if not is_complete:
                return end, None
            goes_on = self._goes_on(mask, end, closed, is_whole=is_whole)
            if goes_on is None:
                return end, None
            if not goes_on:
                end = end if closed is None else self._with_rest(mask, end, stack)
                return end, end
        return len(mask.rstrip()), None

    def _chosen(self, *, is_innermost: bool) -> int | None:
        """The bracket, by its depth, that ends the completion when it is closed."""
        blocks = [i for i, one in enumerate(self._open) if one.char in self._blocks]
        if not blocks:
            return None
        if self._blocks == BRACKETS:
            return blocks[-1] if is_innermost else blocks[0]
        functions = [i for i in blocks if not is_control(self._open[i].line)]
        target = blocks[-1] if is_innermost else functions[-1] if functions else blocks[0]
        # As in `describe("x", () => {`, whose end is `});`.
        while (
            target
            and self._open[target - 1].char != "{"
            and self._open[target - 1].row == self._open[target].row
        ):
            target -= 1
        return target

    def _outer_depth(self) -> int | None:
        """The depth of definitions that stand beside each other; None within a function."""
        if self._target is None:
            return 0
        is_inside = len(self._open) == self._target + 1 and self._blocks != BRACKETS
        return len(self._open) if is_inside and is_container(self._open[-1].line) else None

    def _ends_block(self, closed: Bracket, depth: int) -> bool:
        if self._target is not None and depth <= self._target:
            return True
        return depth == self._outer and closed.char in self._blocks

    def _ends_statement(self, mask: str, at: int, depth: int) -> bool:
        """Whether a statement that the cursor's line began ends here, outside of functions."""
        if depth != self._outer or not self._has_begun or self._blocks == BRACKETS:
            return False
        return mask[at] == ";" or _BLANK_LINE.match(mask, at) is not None

    def _goes_on(
        self, mask: str, end: int, closed: Bracket | None, *, is_whole: bool
    ) -> bool | None:
        """Whether the closed block is followed by its `else` or the like; None if it may be."""
        if closed is None or closed.char != "{":
            return False
        rest = mask[end:].lstrip(None if is_control(closed.line) else " \t")
        if not rest.strip() and not is_whole and is_control(closed.line):
            return None
        word = first_word(rest.partition("\n")[0])
        if not is_whole and word == rest and may_become(word, CONTINUES):
            return None
        if word == "while":
            return first_word(closed.line) == "do"
        return word in CONTINUES and not rest.startswith("}")

    def _with_rest(self, mask: str, end: int, stack: list[Bracket]) -> int:
        """The end with what belongs to the block on its line: `;`, `,`, `)`, its name."""
        if (names := _NAMES.match(mask, end)) is not None:
            return names.end()
        depth = len(stack)
        at = end
        while at < len(mask) and mask[at] in " \t,;)]":
            if mask[at] in ")]":
                depth -= 1
                if depth < self._floor or stack[depth].char != PAIRS[mask[at]]:
                    break
            at += 1
            if mask[at - 1] not in " \t":
                end = at
        return end
