"""Remove invisible characters: controls, marks that change the direction of writing, tags, and stray joiners.

Such characters hide words from a search and text from a person, but models read them. A joiner stays where its script
needs it: between letters of Arabic, Indic and South-East Asian scripts, and within an emoji.

Sources: Unicode Technical Report 36 (3.5, 3.6), Unicode Standard Annex 9 (2.1 to 2.6), Unicode Technical Standard 51.
"""

import re
from collections import Counter
from typing import Final

# Characters that may be removed, as the inside of a character class of a regular expression.
INVISIBLE: Final = (
    r"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U000e0000-\U000e0fff"
)

# One search over the text finds the few candidates; only these are looked at with their neighbours.
_INVISIBLE: Final = re.compile(f"[{INVISIBLE}]")
# Scripts whose letters change their shape beside a joiner, or that put no space between words.
_JOINING: Final = re.compile(
    "[\u0600-\u06ff\u0700-\u086f\u08a0-\u0fff\u1000-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\U00010a00-\U00011fff]"
)
# Scripts without spaces, where a zero-width space marks the end of a word.
_NO_SPACES: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf]")
# Mongolian has variation selectors of its own, which change the shape of a letter.
_MONGOLIAN: Final = re.compile("[\u1820-\u18aa]")
# A zero-width joiner between two of these makes one picture of them, such as a family.
_EMOJI: Final = re.compile("[\u2190-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff]")
# What may have a variant of its shape: signs, and characters of East Asia.
_VARIED: Final = re.compile("[\xa9\xae\u203c-\u9fff\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U000323af]")
# Variation selectors 17 to 256 choose among shapes of an ideograph (Unicode Technical Standard 37).
_IDEOGRAPH: Final = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


def visible(text: str, dropped: Counter[str] | None = None) -> str:
    """Return a text without invisible characters. `dropped` counts the removed ones as "invisible"."""

    def stays(match: re.Match[str]) -> str:
        character = match[0]
        if _is_needed(text, match.start(), character):
            return character
        if dropped is not None:
            dropped["invisible"] += 1
        return ""

    return _INVISIBLE.sub(stays, text)


def _is_needed(text: str, at: int, character: str) -> bool:
    before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if character in "\u200c\u200d":
        if _JOINING.match(before):
            return after not in ("\u200c", "\u200d")
        return character == "\u200d" and bool(_EMOJI.match(before) and _EMOJI.match(after))
    if character == "\u200b":
        return bool(_NO_SPACES.match(before) and _NO_SPACES.match(after))
    if "\ufe00" <= character <= "\ufe0f":
        return _VARIED.match(before) is not None or (before in "0123456789#*" and after == "\u20e3")
    if "\U000e0100" <= character <= "\U000e01ef":
        return _IDEOGRAPH.match(before) is not None
    return "\u180b" <= character <= "\u180f" and _MONGOLIAN.match(before) is not None
