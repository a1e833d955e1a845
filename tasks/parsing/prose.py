"""From lines to running text: hyphens joined, ligatures spelled out, spaces made plain, nothing else changed."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
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
# They show nothing: controls, the soft hyphen (where it is none at a line's end), byte order marks, no characters.
_UNSEEN: Final = (
    *(c for c in range(0x20) if c not in (0x09, 0x0A)),
    *range(0x7F, 0xA0),
    0xAD,
    0x2060,
    0xFEFF,
    0xFFFE,
    0xFFFF,
)
_TABLE: Final = {**_SPELLED_OUT, **_SPACES, **dict.fromkeys(_UNSEEN, None)}
_SPECIAL: Final = re.compile(f"[{re.escape(''.join(map(chr, _TABLE)))}]")
_UNSEEN_RUN: Final = re.compile(f"[{re.escape(''.join(map(chr, _UNSEEN)))}]")
_HYPHEN: Final = re.compile(r"(?<=[^\W\d_])[-‐\xad]\s*\n\s*(?=[^\W\d_])")
_KEPT_HYPHEN: Final = re.compile(r"(?:\b(?:self|well)|[-‐]\w+)$", re.IGNORECASE)
# Signs of scripts that put no space between words, where a line break stands for nothing.
_WIDE: Final = r"\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\uff00-\uffef\u0e00-\u0eff"
_WIDE_BREAK: Final = re.compile(f"(?<=[{_WIDE}])\\s*\n\\s*(?=[{_WIDE}])")


def running_text(text: str, dropped: Counter[str]) -> str:
    """Make one line of text of several, counting the characters that are dropped by the rule that drops them."""
    if not text.isascii():
        text = _plain(text, dropped)
    elif not text.isprintable():
        text = _without_controls(text, dropped)
    if "\n" in text:
        text = text.replace("\n", " ")
    if "....." in text or ". . ." in text:
        text = _without_leaders(text, dropped)
    if "  " in text or text[:1] == " " or text[-1:] == " ":
        text = " ".join(text.split())
    return text


def _plain(text: str, dropped: Counter[str]) -> str:
    if "\n" in text:
        text = _WIDE_BREAK.sub("", _joined(text, dropped))
    if _SPECIAL.search(text):
        unseen = len(_UNSEEN_RUN.findall(text))
        if unseen:
            dropped["invisible"] += unseen
        text = text.translate(_TABLE)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return text


def _without_controls(text: str, dropped: Counter[str]) -> str:
    if "-" in text:
        text = _joined(text, dropped)
    if not text.replace("\n", "").isprintable():
        text, unseen = _UNSEEN_RUN.subn("", text.replace("\t", " "))
        if unseen:
            dropped["invisible"] += unseen
    return text


def _joined(text: str, dropped: Counter[str]) -> str:
    """Join words that are divided at the end of a line."""

    def join(match: re.Match[str]) -> str:
        following = text[match.end() : match.end() + 1]
        # Names (Rolls-\nRoyce) and words that are written with a hyphen anyway keep it.
        if following.isupper() or _KEPT_HYPHEN.search(text, max(0, match.start() - 24), match.start()):
            return "-"
        dropped["hyphen"] += 1
        return ""

    return _HYPHEN.sub(join, text)


def _without_leaders(text: str, dropped: Counter[str]) -> str:
    """Take out the dots that lead from an entry of a table of contents to its page."""

    def shorten(match: re.Match[str]) -> str:
        dropped["leader"] += len("".join(match[0].split()))
        return " "

    return LEADERS.sub(shorten, text)
