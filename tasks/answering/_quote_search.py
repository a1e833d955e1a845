"""Whether a quote stands in a passage, however a model writes its quotation marks, dashes, spaces and line ends.

Guarantees: the found quote has the characters of the passage itself, and never begins or ends within a word or number.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import regex

from prefect_ollama.tasks.answering._words import UNSPACED

_SIGNS: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc`\u00b4\u2039\u203a", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63\uff0d", "-"),
    }
)

_CLUSTER = regex.compile(r"\X")
_SEEN_SOFT_HYPHEN = regex.compile(r"\u00ad(?=\s)")

# Signs that a model adds or leaves out at the ends of a quote.
_ENDS: Final = " .,;:…\"'"


@dataclass(frozen=True, slots=True)
class Normal:
    """A text in the one spelling in which quotes are compared.

    Attributes:
        text: That spelling.
        starts: For each of its characters, the start of the original characters for which it stands.
        ends: Where that ends.
    """

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]


# All quotes of all drafts are looked up in the same few passages.
@lru_cache(maxsize=64)
def normal(text: str) -> Normal:
    """Return a text in the spelling in which quotes are compared.

    It is NFKC, with one kind of quotes and dashes, single spaces and no case. Words that a hyphen divides, at the end
    of a line or within, become one. Raised digits and fractions stay apart from the digits before
    them: `10²` is not `102`.
    """
    letters: list[tuple[str, int, int]] = []
    # A soft hyphen at the end of a line is one that is seen; this replaces a character by one.
    for found in _CLUSTER.finditer(_SEEN_SOFT_HYPHEN.sub("-", text)):
        start, end = found.span()
        for character in _spelled(found[0]):
            if character != " " or (letters and letters[-1][0] != " "):
                letters.append((character, start, end))
    joined = list(_without_hyphens(letters))
    return Normal(
        "".join(each[0] for each in joined),
        tuple(each[1] for each in joined),
        tuple(each[2] for each in joined),
    )


def find_quote(quote: str, passage: Normal) -> tuple[int, int] | None:
    """Return the place of a quote in the original text of a passage; None if the passage does not have it."""
    wanted = normal(quote).text.strip(_ENDS)
    if not any(each.isalnum() for each in wanted):
        return None
    at = passage.text.find(wanted)
    while at >= 0:
        end = at + len(wanted)
        if not (_splits(passage.text, at) or _splits(passage.text, end) or _cuts_sign(passage.text, at)):
            return passage.starts[at], passage.ends[end - 1]
        at = passage.text.find(wanted, at + 1)
    return None


def _spelled(cluster: str) -> Iterator[str]:
    """Yield the characters by which a character with its marks is compared."""
    if cluster.isspace():
        yield " "
        return
    kind = unicodedata.decomposition(cluster[0]).partition(" ")[0]
    before = {"<super>": "^", "<fraction>": " "}.get(kind, "")
    plain = unicodedata.normalize("NFKC", cluster.translate(_SIGNS)).casefold().translate(_SIGNS)
    plain = unicodedata.normalize("NFKC", plain.replace("\u2044", "/"))
    for character in before + plain:
        # Invisible characters, such as soft hyphens.
        if unicodedata.category(character) not in ("Cf", "Cc"):
            yield " " if character.isspace() else character


def _without_hyphens(letters: list[tuple[str, int, int]]) -> Iterator[tuple[str, int, int]]:
    at = 0
    while at < len(letters):
        if letters[at][0] == "-" and at and letters[at - 1][0].isalpha():
            after = at + 1
            if after < len(letters) and letters[after][0] == " ":
                after += 1
            if after < len(letters) and letters[after][0].isalpha():
                at = after
                continue
        yield letters[at]
        at += 1


def _splits(text: str, at: int) -> bool:
    """Return whether a place is within a word or a number."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if before.isalnum() and after.isalnum():
        return not (UNSPACED.match(before) or UNSPACED.match(after))
    if after.isdigit() and before in ".,^" and at > 1:
        return text[at - 2].isalnum()
    if before.isdigit() and after in ".,^" and at + 1 < len(text):
        return text[at + 1].isdigit()
    return False


def _cuts_sign(text: str, at: int) -> bool:
    """Return whether the minus of a number is left out."""
    if not (0 < at < len(text) and text[at].isdigit() and text[at - 1] == "-"):
        return False
    return at == 1 or not text[at - 2].isalnum()
