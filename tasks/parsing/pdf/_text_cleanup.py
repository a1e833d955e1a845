"""Make running text of lines: join hyphenated words, spell out ligatures, and normalise spaces."""

import re
import unicodedata
from collections import Counter
from itertools import accumulate
from typing import Final

from prefect_ollama.tasks.parsing._invisible import INVISIBLE, visible
from prefect_ollama.tasks.parsing.pdf._layout import LEADERS

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
# All characters of white space (Unicode category Zs, tabs and line breaks) become one kind of space.
_SPACES: Final = dict.fromkeys(
    (0x09, 0x0B, 0x0C, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
    " ",
)
# Bullets as Word and others draw them, from fonts of signs that have no Unicode.
_BULLETS: Final = {0xF0B7: "•", 0xF0A7: "▪", 0xF0D8: "➢", 0xF0FC: "✓", 0xF0A8: "□", 0xF02D: "–", 0xF06E: "■"}
# One translation for all replacements, because `str.translate` runs at the speed of C.
_TABLE: Final = {**_SPELLED_OUT, **_SPACES, **_BULLETS}
# Characters without meaning, as a font without a character map yields.
_UNKNOWN: Final = re.compile(
    "[\ufffd\ue000-\uf02c\uf02e-\uf06d\uf06f-\uf0a6\uf0a9-\uf0b6\uf0b8-\uf0d7\uf0d9-\uf0fb\uf0fd-\uf8ff"
    "\U000f0000-\U0010ffff]"
)
# Signs of scripts that put no space between words, where a line break stands for nothing.
_WIDE: Final = r"\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\uff00-\uffef\u0e00-\u0eff"
# A line break between two such characters is removed; elsewhere it becomes a space.
_WIDE_BREAK: Final = re.compile(f"(?<=[{_WIDE}])\\s*\n\\s*(?=[{_WIDE}])")
# Characters that plain prose of Western scripts does not have; curly quotes, dashes and accented letters are plain.
_SPECIAL: Final = re.compile(
    f"[{re.escape(''.join(map(chr, _TABLE)))}{INVISIBLE}{_WIDE}\u0300-\u036f\u0590-\u1cff\ue000-\uf8ff\ufffd"
    "\U000f0000-\U0010ffff]"
)
# Bytes with which no Latin, Greek or Cyrillic letter begins in UTF-8, and no punctuation mark except those with 0xE2.
_ODD_BYTES: Final = bytes(
    {0xC2, 0xCC, 0xCD, *range(0xD6, 0xE2), *range(0xE3, 0x100), *range(0x0A), *range(0x0B, 0x20), 0x7F}
)
# Signs with the first byte 0xE2 that are changed or dropped: spaces, marks, ideographs.
_ODD_SIGNS: Final = re.compile(
    rb"\xe2(?:\x80[\x80-\x8f\xa8-\xaf]|\x81[\x9f-\xaf]|\xba|\xbb|\xbc|\xbd|\xbe|\xbf)"
)
# Stands for a line break that no space is put for; as a character it would show nothing.
_GLUED: Final = "\r"
# A hyphen, a soft hyphen or U+2010 at the end of a line. A pattern that begins with one character is searched faster.
_HYPHEN: Final = re.compile(r"[-‐\xad] ?\n\s*")
_ASCII_HYPHEN: Final = re.compile(r"- ?\n\s*")
# What is written with a hyphen anyway: compounds, abbreviations (ISO-standard), and the names of files, products
# and addresses, which would be wrong without it.
_KEPT_WORDS: Final = frozenset({"self", "well"})
# A hyphen before the one at the end of the line, a digit or a sign of addresses and file names.
_KEPT_HYPHEN: Final = re.compile(r"\b(?:self|well)$|[-‐]\w+$|[\d/@_:\\]|\.\w", re.IGNORECASE)
# Text is set in capitals, as disclaimers are, if so many characters on both sides of a hyphen are: its words are
# divided as others are, and abbreviations do not show.
_CAPITALS: Final = 12
# Characters before a hyphen that are looked at.
_WORD: Final = 40


def keeps_hyphen(before: str) -> bool:
    """Return whether a hyphen at the end of a line is one of its word, and not of the line."""
    word = before[-_WORD:].rsplit(None, 1)[-1]
    if word.isalpha():  # As nearly all are.
        return (len(word) > 1 and word.isupper()) or word.lower() in _KEPT_WORDS
    return _KEPT_HYPHEN.search(word) is not None


def is_plain(text: bytes) -> bool:
    """Return whether a text in UTF-8 has no character to change or drop, and none of a script without spaces."""
    return len(text.translate(None, _ODD_BYTES)) == len(text) and not (
        b"\xe2" in text and _ODD_SIGNS.search(text)
    )


def _is_tidy(text: str) -> bool:
    """Return whether spaces and dots are as they should be; asked for every paragraph, so answered by C-speed calls."""
    return (
        "  " not in text
        and text[:1] != " "
        and text[-1:] != " "
        and not ("...." in text or ". . ." in text or "____" in text)
        and (text.isascii() or not ("····" in text or "……" in text))
    )


def _has_special(text: str) -> bool:
    return not text.isprintable() if text.isascii() else _SPECIAL.search(text) is not None


class TextCleanup:
    """Makes running text of lines.

    Args:
        dropped: Characters that are dropped are counted here, by their rule.
        plain: Whether all texts that will come are plain (`is_plain`).
    """

    def __init__(self, dropped: Counter[str], plain: bool = False) -> None:
        self._dropped = dropped
        self._plain_text = plain

    def running(self, text: str) -> str:
        """Make one line of text of several."""
        return self.lines(text)[0]

    def exact(self, text: str) -> str:
        """Make one line of code, whose spaces and dots stay."""
        return self._plain(text) if _has_special(text) else text

    def cells(self, rows: list[list[str]]) -> list[list[str]]:
        """Make one line of each cell of a table."""
        text = f"|{'|'.join(['|'.join(row) for row in rows])}|".replace("\n", " ")
        if " |" in text or "| " in text or _has_special(text) or not _is_tidy(text):
            return [[self.running(cell) for cell in row] for row in rows]
        return [[self.running(cell) if "\n" in cell else cell for cell in row] for row in rows]

    def lines(self, text: str) -> tuple[str, tuple[int, ...]]:
        """Join several lines to one, and return it with the place where each of them except the last ends."""
        text = text.strip(" ").replace(" \n", "\n")
        if "\n" not in text:
            return (text if self._is_clean(text) else self._clean(text)), ()
        ascii = text.isascii()
        if "-\n" in text or "- \n" in text or (not ascii and ("‐" in text or "\xad" in text)):
            text = (_ASCII_HYPHEN if ascii else _HYPHEN).sub(self._join, text)
        if not (ascii or self._plain_text):
            text = _WIDE_BREAK.sub(_GLUED, text)
        parts = text.replace("\n", " \n").replace(_GLUED, "\n").split("\n")
        text = "".join(parts)
        if self._is_clean(text):
            return text, tuple(accumulate(map(len, parts[:-1])))
        cleaned = [self._clean(part) + " " * part.endswith(" ") for part in parts]
        text = "".join(cleaned)
        if text[:1] == " " or text[-1:] == " " or "  " in text:  # A line had nothing to show.
            return " ".join(text.split()), ()
        return text, tuple(accumulate(map(len, cleaned[:-1])))

    def _is_clean(self, text: str) -> bool:
        return (self._plain_text or not _has_special(text)) and _is_tidy(text)

    def _clean(self, text: str) -> str:
        if _has_special(text):
            text = self._plain(text)
        return " ".join(LEADERS.sub(self._drop_leader, text).split())

    def _plain(self, text: str) -> str:
        text, count = _UNKNOWN.subn("", visible(text, self._dropped))
        if count:
            self._dropped["unknown"] += count
        return unicodedata.normalize("NFC", text.translate(_TABLE))

    def _join(self, match: re.Match[str]) -> str:
        """Join a word that is divided at the end of a line."""
        text, (start, end) = match.string, match.span()
        following = text[end : end + 1]
        if not (following.isalpha() and text[start - 1 : start].isalpha()):
            return match[0]
        if match[0][0] == "\xad":
            self._dropped["hyphen"] += 1
            return _GLUED
        before = text[max(0, start - _WORD) : start]
        in_capitals = len(before) > _CAPITALS and before.isupper() and text[end : end + _CAPITALS].isupper()
        # Names (Rolls-\nRoyce) and words that are written with a hyphen anyway keep it.
        if not in_capitals and (following.isupper() or keeps_hyphen(before)):
            return "-" + _GLUED
        self._dropped["hyphen"] += 1
        return _GLUED

    def _drop_leader(self, match: re.Match[str]) -> str:
        self._dropped["leader"] += len("".join(match[0].split()))
        return " "
