"""Read the codes of TeX's fonts as the signs they stand for, where a file has no character map for its fonts.

Papers of the 1990s and 2000s have such fonts, as bitmaps. Letters have their own codes there, but ligatures and
quotation marks have those of control characters, and "signi\\x1ccant" would lose its "fi". Each code becomes one
character, so that texts keep their length.

Sources: the encodings OT1, T1 and TS1 of LaTeX (`encguide.pdf`), and Windows-1252.
"""

import re
from typing import Final

# All codes that may stand for a sign: a quick test, which most pages do not pass.
_CODES: Final = bytes([*range(0x0B, 0x17), *range(0x1B, 0x20)])
# ff, fi, fl, ffi and ffl of OT1 and of T1, before a small letter. Only ff ends words ("off", "sheriff"), after a vowel:
# codes at the end of any word are line breaks of word processors.
_LIGATURES: Final = dict(zip("\x0b\x0c\r\x0e\x0f\x1b\x1c\x1d\x1e\x1f", "ﬀﬁﬂﬃﬄ" * 2, strict=True))
_SMALL: Final = "a-zß-öø-ÿ"
_LIGATURE: Final = re.compile(f"[\x0b-\x0f\x1b-\x1f](?=[{_SMALL}])|(?<=[aeiou])[\x0b\x1b](?![^\\W_])")
# Quotation marks and dashes of T1: read only on pages that have its ligatures.
_T1: Final = re.compile(f"[\x1b-\x1f](?=[{_SMALL}])")
_MARKS: Final = str.maketrans("\x10\x11\x12\x13\x14\x15\x16", "“”„«»–—")
# The bullet of TS1, which begins a point of a list, and marks of Windows-1252, whose codes some character maps give.
_BULLET: Final = re.compile("^\x88", re.MULTILINE)
_WINDOWS: Final = str.maketrans("\x80\x85\x91\x92\x93\x94\x95\x96\x97\x99", "€…‘’“”•–—™")
# U+0080 to U+009F in UTF-8.
_C1: Final = re.compile(rb"\xc2[\x80-\x9f]")


def has_codes(text: bytes) -> bool:
    """Return whether a text in UTF-8 has codes that `as_signs` may read."""
    return len(text.translate(None, _CODES)) != len(text) or (
        b"\xc2" in text and _C1.search(text) is not None
    )


def as_signs(text: str) -> str:
    """Return a text with signs in place of codes. All other control characters stay."""
    if _T1.search(text):
        text = text.translate(_MARKS)
    text = _LIGATURE.sub(lambda match: _LIGATURES[match[0]], text)
    return _BULLET.sub("•", text).translate(_WINDOWS)
