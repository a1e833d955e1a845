"""Amounts in the cells of tables: which texts are numbers, years, periods or units, and which signs belong to them.

Reports set a currency sign at the left edge of its column and a closing bracket or a percent sign right of it, each
some space away from the number. Such signs are not cells of their own.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from prefect_ollama.tasks.parsing.pdf._table_columns import Word

# Letters before the sign distinguish dollars: US$, C$, HK$.
_CURRENCY: Final = r"(?:[A-Z]{1,3})?[$€£¥₹₩₽₺₪฿]"
_SIGN: Final = re.compile("[$€£¥₹₩₽₺₪฿()%]")
# A bracket before a number stands for a minus sign.
_OPENING: Final = re.compile(rf"\(?\s*{_CURRENCY}\s*\(?|\(")
_CLOSING: Final = re.compile(r"[)%]\s*[)%]?")
# Fonts and programs write a minus sign with any of these.
_DASH: Final = "[-–—−‒]"
# Marks of footnotes may follow a number. "N/A" and dashes stand for no number.
_MARK: Final = r"(?:\s*[*†‡]|[¹²³⁰-⁹]{1,2}|\(\w\))?"
_AMOUNT: Final = re.compile(
    rf"\(?{_DASH}?\s*\(?(?:{_CURRENCY})?\s*{_DASH}?\s*\(?\d[\d.,'’ ]*(?:\s*(?:[)%]|bps?|pts?|x))*{_MARK}"
    rf"|(?:{_CURRENCY}\s*)?{_DASH}{{1,3}}(?:\s*[)%])*|N/?[AM]|n/?[am]|\*"
)
# A sign on its own belongs to a text only if that begins as a number does.
_STARTS: Final = re.compile(rf"[\d({_DASH[1:-1]}.]")
# Years of 1800 to 2199, also as a fiscal year, an estimate ("2025E") or with the mark of a footnote.
_YEAR: Final = re.compile(
    r"(?:FY\s?)?'?(?:1[89]|20|21)\d\d(?:[-–/]\d{2,4})?[AEFPe*]?(?:\s?\(\w{1,2}\)|[\d¹²³⁰-⁹])?"
)
# A currency sign left of a number may stand so far from it, in sizes of the type: as far as the column is wide.
_FAR: Final = 9
# What closes a number follows it more closely.
_NEAR: Final = 1.5
# Space before a bracket that closes a number.
_LOOSE: Final = re.compile(r"(?<=\d)\s+(?=\))")
# The end of a line "226,616 $", whose sign belongs to the next number.
_LAST_SIGN: Final = re.compile(rf"^(?P<first>.*[\d)%{_DASH[1:-1]}])\s+(?P<sign>{_CURRENCY})$")


# The cells of a table are asked for several times, and many of them have the same text.
@lru_cache(maxsize=4096)
def is_amount(text: str) -> bool:
    """Return whether a cell holds an amount, or the dash that means "no amount"."""
    text = text.strip()
    return bool(text) and not is_year(text) and _AMOUNT.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def is_year(text: str) -> bool:
    """Return whether a cell holds a year."""
    return _YEAR.fullmatch(text.strip()) is not None


def with_signs(row: Sequence[Word]) -> list[Word]:
    """Join the signs of a row with their numbers."""
    # A fast test, because most rows have none of these characters.
    if not _SIGN.search(" ".join([word.text for word in row])) or not any(
        "$" in word.text or _CLOSING.match(word.text) or _OPENING.match(word.text) for word in row
    ):
        return list(row)
    found: list[Word] = []
    row = [replace(word, text=_LOOSE.sub("", word.text)) if " )" in word.text else word for word in row]
    for word in (part for each in row for part in _divided(each)):
        last = found[-1] if found else None
        text = word.text.strip()
        if last is not None and _OPENING.fullmatch(last.text.strip()) and _STARTS.match(text):
            if word.x0 - last.x1 < _FAR * word.size:
                found[-1] = _together(last, word)
                continue
        elif (
            last is not None
            and _CLOSING.fullmatch(text)
            and word.x0 - last.x1 < _NEAR * word.size
            and is_amount(last.text)
        ):
            found[-1] = _together(last, word)
            continue
        found.append(word)
    return found


def _divided(word: Word) -> list[Word]:
    """Take a currency sign from the end of a line of numbers: it belongs to the next one."""
    match = _LAST_SIGN.match(word.text.rstrip())
    if match is None:
        return [word]
    places = word.edges()
    end, start = match.end("first"), match.start("sign")
    return [
        replace(word, text=word.text[:end], x1=places[end - 1][1]),
        replace(word, text=match["sign"], x0=places[start][0]),
    ]


def _together(left: Word, right: Word) -> Word:
    """Join a sign and its number, in the place of the number."""
    number = right if _OPENING.fullmatch(left.text.strip()) else left
    return replace(
        left,
        x0=number.x0,
        x1=number.x1,
        size=number.size,
        y0=min(left.y0, right.y0),
        y1=max(left.y1, right.y1),
        text=left.text.strip() + right.text.strip(),
        also=(*left.also, right.place, *right.also),
    )
