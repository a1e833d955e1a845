"""From lines to running text: hyphens joined, ligatures and compatibility forms spelled out, spaces made plain."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Final

# Ligatures of the Latin alphabet and Arabic presentation forms stand for letters that have characters of their
# own. Other compatibility characters (superscripts, full-width forms, ℃) mean something and are left alone.
_SPELLED_OUT: Final = {
    code: unicodedata.normalize("NFKC", chr(code))
    for code in (
        *range(0xFB00, 0xFB07),
        *range(0xFB13, 0xFB18),
        *range(0xFB1D, 0xFDFC),
        *range(0xFE70, 0xFEFD),
    )
    if unicodedata.normalize("NFKC", chr(code)) != chr(code)
}
_SPACES: Final = dict.fromkeys((0x09, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
_DROPPED: Final = {
    **dict.fromkeys((c for c in range(0x20) if c not in (0x09, 0x0A, 0x0D)), None),
    **dict.fromkeys((*range(0x7F, 0xA0), 0xAD, 0xFEFF, 0xFFFE, 0xFFFF, 0x2060), None),
}
_TABLE: Final = {**_SPELLED_OUT, **_SPACES, **_DROPPED}
_HYPHEN: Final = re.compile(r"(?<=[^\W\d_])[-‐\u00ad]\n(?=[^\W\d_])")
# Signs of scripts that put no space between words, where a line break stands for nothing.
_WIDE: Final = r"\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\uff00-\uffef\u0e00-\u0eff"
_WIDE_BREAK: Final = re.compile(f"(?<=[{_WIDE}])\n(?=[{_WIDE}])")


def join_lines(lines: list[str], dropped: Counter[str]) -> str:
    """Make one paragraph of its lines, counting what is dropped."""
    text = "\n".join(lines)
    if not text.isascii():
        text = normalise(text, dropped)
        text = _WIDE_BREAK.sub("", text)
    elif not text.isprintable() and "\n" not in text:
        text = normalise(text, dropped)
    if "-\n" in text or "‐\n" in text:
        text, joined = _HYPHEN.subn("", text)
        if joined:
            dropped["hyphen"] += joined
    return " ".join(text.split())


def normalise(text: str, dropped: Counter[str]) -> str:
    """NFC, ligatures spelled out, every space a plain one, characters that show nothing dropped and counted."""
    control = sum(map(text.count, map(chr, _DROPPED)))
    if control:
        dropped["control"] += control
    return unicodedata.normalize("NFC", text.translate(_TABLE))
