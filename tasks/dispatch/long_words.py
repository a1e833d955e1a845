"""Divide words of hundreds of letters before they are sent, because some nodes need minutes for one.

The WordPiece tokenizer of Ollama up to 0.24 takes cubic time in the bytes of a word: 4,000 letters 4.2 s, 10,000 over a
minute, during which the node answers no request. A word ends there at white space, at punctuation and at a Chinese
character (`words` in wordpiece.go of https://github.com/ollama/ollama). So a sentence of Thai or Khmer is one word, and
so is a line of box-drawing characters or of Base64.

Guarantees: equal texts are divided equally; a text without such a word is sent as it is; only spaces are added.
"""

import re
import unicodedata
from functools import cache
from typing import Final

# Bytes of UTF-8 of a word that is sent whole: it takes Ollama 0.24 some 10 ms. No word of a language is as long.
MAX_WORD_BYTES: Final = 512

# Bytes by which a part may be longer, so that a letter is not divided from its marks. A letter with more marks is still
# divided, because a hostile text could have thousands.
MAX_CLUSTER_BYTES: Final = 64

# What `unicode.IsSpace` of Go takes for white space.
_SPACE: Final = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(point) for point in range(0x2000, 0x200B)
}
# White space to Python and not to Go.
_NO_SPACE: Final = re.compile("[\x1c-\x1f]")
# The ranges in which `words` makes a word of each character.
_CHINESE: Final = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def divide_long_words(text: str) -> str:
    """Return the text with spaces in words of more than `MAX_WORD_BYTES`; other texts are returned unchanged."""
    if len(text) <= MAX_WORD_BYTES // 4 or _is_harmless(text):
        return text
    parts: list[str] = []
    start = size = 0
    for place, character in enumerate(text):
        if _ends_word(character):
            size = 0
            continue
        added = _bytes(character)
        if size + added > MAX_WORD_BYTES and (
            not _continues(character) or size + added > MAX_WORD_BYTES + MAX_CLUSTER_BYTES
        ):
            parts.append(text[start:place])
            start, size = place, 0
        size += added
    parts.append(text[start:])
    return " ".join(parts)


def _is_harmless(text: str) -> bool:
    """Return whether no part between white space is long: a fast test, which most texts pass."""
    fewest = MAX_WORD_BYTES // 4  # characters in as many bytes
    if _NO_SPACE.search(text):
        return False
    parts = text.split()
    if max(map(len, parts), default=0) <= fewest:
        return True
    return all(len(part.encode("utf-8", "surrogatepass")) <= MAX_WORD_BYTES for part in parts)


@cache
def _ends_word(character: str) -> bool:
    """Return whether a word ends before the character, and the next one begins after it."""
    point = ord(character)
    return (
        character in _SPACE
        or unicodedata.category(character)[0] == "P"
        or any(first <= point <= last for first, last in _CHINESE)
    )


@cache
def _continues(character: str) -> bool:
    """Return whether it belongs to the letter before it: a mark, a joiner, a variation selector or a skin tone."""
    joiner, skin_tone = character in "\u200c\u200d", "\U0001f3fb" <= character <= "\U0001f3ff"
    return joiner or skin_tone or unicodedata.category(character)[0] == "M"


@cache
def _bytes(character: str) -> int:
    return len(character.encode("utf-8", "surrogatepass"))
