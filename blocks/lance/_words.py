"""The words of a text. The index of words and questions use the same rules.

The index only splits at spaces, and takes words of any length; everything else is decided here. So a word that a person
copies from a passage, or types in another spelling, becomes the same word as in the index.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final

import regex

# Longest term whose words are cached, because most terms come many times. Longer ones are rare and would fill the
# cache.
REMEMBERED_LENGTH: Final = 64

# Stripped from both ends of a term. `+` and `#` stay, for names such as C++ and C#.
_PUNCTUATION: Final = "!\"%&'()*,-./:;<=>?@[\\]^_{|}~"

# Marks over letters, which search ignores: the combining marks of Latin, Greek and Cyrillic, Hebrew points, Arabic
# vowel signs and the stroke that only widens a word; and invisible characters, such as soft hyphens. Vowel signs of
# Indic scripts and the voicing marks of Japanese distinguish words, so they stay.
_IGNORED = regex.compile(
    r"[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0640\u064b-\u065f\u0670\ufe00-\ufe0f\p{Cf}]"
)

# Letters that Unicode does not decompose, and signs that keyboards and typesetters write in several ways.
_SPELLINGS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u2032`\u00b4", "'"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043", "-"),
        "ı": "i",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "ħ": "h",
        "ŧ": "t",
        "ŋ": "n",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
    }
)

# A raised digit may be the mark of a footnote after a word, or part of it, as in CO₂. So the sign counts as a part of
# the word, and the word is found with and without it.
_RAISED = regex.compile(
    r"(?<=[\p{L}\p{N}\p{M}])(?=[\u00b2\u00b3\u00b9\u2070-\u209c])(?<![\u00b2\u00b3\u00b9\u2070-\u209c])"
)
_RAISED_JOIN = "^"

# A term is words joined by up to three signs (`foo_bar.baz`, `a->b`), or a sign that stands alone.
_PART = r"[\p{L}\p{N}\p{M}]+"
_TERM = regex.compile(
    rf"(?P<term>{_PART}(?:[-_.,'/\\:@&+#=?%~^·]{{1,3}}{_PART})*[+#]*)|(?P<sign>[\p{{S}}§¶†‡‰--[\^`+<=>|~]])",
    regex.VERSION1,
)
_PARTS = regex.compile(_PART)
_JOINED = regex.compile(rf"{_PART}(?:[-'^]{_PART})+")

# Scripts that put no spaces between words, or endings right behind them (Korean).
_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々〆]\p{M}*+"
)
_RUNS = regex.compile(rf"(?:{_UNSPACED.pattern})+|(?:(?!{_UNSPACED.pattern}).)+")


def indexed_words(text: str) -> str:
    """Return the words of a passage, separated by spaces.

    A term of several parts (`foo_bar.baz`, `e-mail`, `O'Brien`) is there as a whole and in parts; a term with hyphens
    or apostrophes also without them. For scripts without spaces there is each character and each pair of characters.
    """
    return " ".join(_words(text, single=True))


def asked_words(text: str) -> str:
    """Return the words of a question, each once, as they are in `indexed_words`; empty if it has none."""
    return " ".join(dict.fromkeys(_words(text, single=False)))


def folded(text: str) -> str:
    """Return the text without differences that search ignores: case, accents, widths, ligatures, variants of signs.

    This is Unicode's NFKC_Casefold (https://www.unicode.org/reports/tr44/#NFKC_Casefold), after which marks are
    removed. Case folding makes `ß` and `SS` equal, which lower case does not.
    """
    if text.isascii():
        return text.lower().replace("`", "'")
    text = unicodedata.normalize("NFKD", _RAISED.sub(_RAISED_JOIN, text.translate(_SPELLINGS)))
    text = unicodedata.normalize("NFKD", _IGNORED.sub("", text).casefold())
    return unicodedata.normalize("NFC", _IGNORED.sub("", text)).translate(_SPELLINGS)


def _words(text: str, *, single: bool) -> Iterator[str]:
    for term in text.split():
        bare = term.strip(_PUNCTUATION)
        if bare.isascii() and bare.isalnum() and term[-1] not in "+#":
            yield bare.lower()  # most words take this way, at a tenth of the cost
        elif len(term) <= REMEMBERED_LENGTH:
            yield from _remembered(term, single)
        else:
            yield from _taken_apart(term, single)


def _taken_apart(term: str, single: bool) -> tuple[str, ...]:
    """Return the words of the characters between two spaces."""
    words: list[str] = []
    for found in _TERM.finditer(folded(term)):
        whole = found[0]
        parts = [whole] if found["sign"] else _PARTS.findall(whole)
        if len(parts) > 1 or parts[0] != whole:
            words.append(whole)
        if _JOINED.fullmatch(whole):
            words.append("".join(parts))
        for part in parts:
            words += [part] if part.isascii() else _split(part, single=single)
    return tuple(words)


# Bounded, because a worker may read any number of texts.
_remembered = lru_cache(2**15)(_taken_apart)


def _split(part: str, *, single: bool) -> Iterator[str]:
    """Split a part into its words; a run of characters without spaces into pairs, as Lucene's CJK analyser does."""
    for run in _RUNS.findall(part):
        characters = _UNSPACED.findall(run)
        if not characters:
            yield run
            continue
        if single or len(characters) == 1:
            yield from characters
        yield from (first + second for first, second in pairwise(characters))
