"""Write raised digits as superscripts: the mark of a footnote would become a digit of a number ("$320¹" "$3201")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from struct import Struct
from typing import Final

from prefect_ollama.tasks.parsing.pdf._glyphs import Glyph, glyphs
from prefect_ollama.tasks.parsing.pdf._stext import MEMORY, Line, TextBlock

# A digit behind a letter or a sign, or the third one of a number, apart from years and thousands: only lines with one
# are looked at. It begins with the digit, which is searched faster.
_BEHIND: Final = re.compile(
    r"[0-9](?:(?<=[^\W\d_].)|(?<=[)\]’”\"'%!?].)|(?<=[^\d\s][.,;:].)"
    r"|(?<=[0-9][0-9].)(?<![0-9]{3}.)(?!(?<=(?:19|20).)[0-9](?![0-9])|(?<=,...)(?![0-9])))"
)
_SUPERSCRIPTS: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUS: Final = "-−"
# A raised digit is smaller than this part of the letter before it, and so much higher, in sizes of that.
_SMALLER: Final = 0.85
_HIGHER: Final = (0.15, 0.8)
# Size and next character, at the same places as in `GLYPH`: most lines have one size, which this finds soonest.
_SIZE: Final = Struct("@52xf8xP")


def with_raised_digits(blocks: list[TextBlock]) -> list[TextBlock]:
    """Return the blocks of a page with superscripts for raised digits behind other characters."""
    found = blocks
    for i, block in enumerate(blocks):
        # One search for all its lines: no part of the pattern reaches beyond one.
        if not _BEHIND.search("\n".join(block.texts)):
            continue
        for k, (line, text) in enumerate(zip(block.lines, block.texts, strict=True)):
            if _BEHIND.search(text) and _has_smaller(line):
                raised = _with_superscripts(text, glyphs(line, text))
                if raised != text:
                    found = found if found is not blocks else list(blocks)
                    texts = found[i].texts
                    found[i] = block._replace(texts=[*texts[:k], raised, *texts[k + 1 :]])
    return found


def _has_smaller(line: Line) -> bool:
    """Return whether a line has a character that is smaller than its first one."""
    at, least, unpack, memory = line[8], _SMALLER * line[5], _SIZE.unpack_from, MEMORY
    while at:
        size, at = unpack(memory, at)
        if size < least:
            return True
    return False


def _with_superscripts(text: str, line: Sequence[Glyph]) -> str:
    letters = list(text)
    base: Glyph | None = None
    for i, glyph in enumerate(line):
        if base is not None and _is_raised(base, glyph):
            letters[i] = glyph.text.translate(_SUPERSCRIPTS)
            if i > 1 and letters[i - 1] in _MINUS and line[i - 1].size == glyph.size and line[i - 2] is base:
                letters[i - 1] = "⁻"
        elif glyph.text.isspace():
            base = None
        elif base is None or glyph.size >= _SMALLER * base.size:
            base = glyph
    return "".join(letters)


def _is_raised(base: Glyph, glyph: Glyph) -> bool:
    least, most = _HIGHER
    return (
        glyph.text.isdecimal()
        and glyph.size < _SMALLER * base.size
        and least * base.size < base.y - glyph.y < most * base.size
    )
