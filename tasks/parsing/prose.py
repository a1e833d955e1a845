"""From lines to running text: hyphens joined, ligatures spelled out, spaces made plain, nothing else changed."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Final

from prefect_ollama.tasks.parsing.lines import LEADERS

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
# Bullets as Word and others draw them, from fonts of signs that have no Unicode.
_BULLETS: Final = {0xF0B7: "•", 0xF0A7: "▪", 0xF0D8: "➢", 0xF0FC: "✓", 0xF0A8: "□", 0xF02D: "–", 0xF06E: "■"}
_TABLE: Final = {**_SPELLED_OUT, **_SPACES, **_BULLETS}
# They show nothing: controls, soft hyphens, byte order marks, no characters.
_INVISIBLE: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u2060\ufeff\ufffe\uffff"
_ASCII_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
# They say nothing: what a font without a character map yields.
_UNKNOWN: Final = (
    "\ufffd\ue000-\uf02c\uf02e-\uf06d\uf06f-\uf0a6\uf0a9-\uf0b6\uf0b8-\uf0d7\uf0d9-\uf0fb\uf0fd-\uf8ff"
)
_RULES: Final = (
    ("invisible", re.compile(f"[{_INVISIBLE}]")),
    ("unknown", re.compile(f"[{_UNKNOWN}]")),
)
# Signs of scripts that put no space between words, where a line break stands for nothing.
_WIDE: Final = r"\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\uff00-\uffef\u0e00-\u0eff"
_WIDE_BREAK: Final = re.compile(f"(?<=[{_WIDE}])\\s*\n\\s*(?=[{_WIDE}])")
# What no plain prose of Western scripts holds; curly quotes, dashes and accented letters are plain.
_SPECIAL: Final = re.compile(
    f"[{re.escape(''.join(map(chr, _TABLE)))}{_INVISIBLE}{_WIDE}\u0300-\u036f\u0590-\u1cff\ue000-\uf8ff\ufffd]"
)
_ANY_WIDE: Final = re.compile(f"[{_WIDE}]")
_HYPHEN: Final = re.compile(r"[-‐\xad] ?\n\s*")
_KEPT_HYPHEN: Final = re.compile(r"(?:\b(?:self|well)|[-‐]\w+)$", re.IGNORECASE)


class Prose:
    """Makes running text of the pieces of one page, which is first looked at as a whole for what it needs."""

    def __init__(self, texts: Iterable[str], dropped: Counter[str]) -> None:
        """Look at all texts of a page; characters that are dropped later are counted in `dropped` by their rule."""
        whole = "\n".join(texts)
        self._dropped = dropped
        plain = _ASCII_CONTROL.search(whole) is None if whole.isascii() else _SPECIAL.search(whole) is None
        self._special = not plain
        self._wide = self._special and _ANY_WIDE.search(whole) is not None
        self._hyphens = "-\n" in whole or "- \n" in whole or "‐" in whole or "\xad" in whole
        self._leaders = "....." in whole or ". . ." in whole or "____" in whole

    def running(self, text: str) -> str:
        """Make one line of text of several."""
        if "\n" in text:
            if self._hyphens:
                text = _HYPHEN.sub(self._join, text)
            if self._wide:
                text = _WIDE_BREAK.sub("", text)
            text = text.replace("\n", " ")
        if self._special and _SPECIAL.search(text):
            text = self._plain(text)
        if self._leaders:
            text = LEADERS.sub(self._drop_leader, text)
        if "  " in text or text[:1] == " " or text[-1:] == " ":
            text = " ".join(text.split())
        return text

    def _plain(self, text: str) -> str:
        for rule, pattern in _RULES:
            text, count = pattern.subn("", text)
            if count:
                self._dropped[rule] += count
        return unicodedata.normalize("NFC", text.translate(_TABLE))

    def _join(self, match: re.Match[str]) -> str:
        """Join a word that is divided at the end of a line."""
        text, start, end = match.string, match.start(), match.end()
        following = text[end : end + 1]
        if not (following.isalpha() and text[start - 1 : start].isalpha()):
            return match[0]
        # Names (Rolls-\nRoyce) and words that are written with a hyphen anyway keep it.
        if following.isupper() or _KEPT_HYPHEN.search(text, max(0, start - 24), start):
            return "-"
        self._dropped["hyphen"] += 1
        return ""

    def _drop_leader(self, match: re.Match[str]) -> str:
        self._dropped["leader"] += len("".join(match[0].split()))
        return " "
