"""Numbers and dates of a text, each in one spelling."""

import unicodedata
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Final

import regex

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar janvier enero gennaio",
            "february feb februar fevrier febrero febbraio",
            "march mar marz mars marzo",
            "april apr avril abril aprile",
            "may mai mayo maggio",
            "june jun juni juin junio giugno",
            "july jul juli juillet julio luglio",
            "august aug aout agosto",
            "september sep sept septembre septiembre settembre",
            "october oct oktober okt octobre octubre ottobre",
            "november nov novembre noviembre",
            "december dec dezember dez decembre diciembre dicembre",
        ),
        1,
    )
    for name in names.split()
}
_MONTH: Final = "|".join(sorted(_MONTHS, key=len, reverse=True))

_DATES: Final = (
    regex.compile(
        rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th|er|\.)?\s+(?:of\s+|de\s+)?(?P<n>{_MONTH})\b\.?(?:,?\s+(?:de\s+)?(?P<y>\d{{4}}))?"
    ),
    regex.compile(rf"\b(?P<n>{_MONTH})\b\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<y>\d{{4}}))?"),
    regex.compile(rf"\b(?P<n>{_MONTH})\b\.?,?\s+(?P<y>\d{{4}})\b"),
    regex.compile(r"\b(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})\b"),
    regex.compile(r"\b(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<y>\d{4})\b"),
)

_NUMBER: Final = regex.compile(
    r"(?<![\w.,])(?P<sign>-(?=\d))?(?P<digits>\d{1,3}(?:[, '\u202f\u00a0]\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)*)"
)
_UNITS: Final = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
"""
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINARY: Final = {name: number for number, name in enumerate(_UNITS.split(), 2)} | {
    name: 10 * number for number, name in enumerate(_TENS.split(), 2)
}
_SCALES: Final = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
# By their word behind a number; abbreviations that may be metres (m) or names (B) are not here.
_SCALED: Final = {
    word: value
    for value, words in (
        (1_000, "thousand thousands tausend mille mil"),
        (10**6, "million millions mn mln mio millionen millones milhoes milioni"),
        (10**9, "billion billions bn mrd milliarde milliarden milliard milliards miliardi"),
        (10**12, "trillion trillions billionen"),
    )
    for word in words.split()
}
NUMBER_WORDS: Final = frozenset((*_ORDINARY, *_SCALES, *_SCALED))
_SCALE: Final = regex.compile(
    rf"\)?[ -]?({'|'.join(sorted(_SCALED, key=len, reverse=True))})\b", regex.IGNORECASE
)
# The unit of a table, given once for all of its numbers.
_COUNTED: Final = regex.compile(r"\bin (thousands|millions|billions)\b", regex.IGNORECASE)
# No number has more words, and Python refuses to write one of more than 4,300 digits.
_SPELLED: Final = regex.compile(
    rf"\b(?:(?:{'|'.join([*_ORDINARY, *_SCALES])}|one(?=\s+(?:{'|'.join(_SCALES)})))\b(?:-|\s+(?:and\s+)?)?){{1,40}}"
)

# Digits of other scripts, such as those of Arabic.
_DIGIT: Final = regex.compile(r"(?![0-9])\p{Nd}")

# Year, month and day.
Date = tuple[int | None, int, int | None]


def dates_in(text: str) -> tuple[str, list[tuple[str, Date]]]:
    """Return a text without its dates, and these as they are written and as (year, month, day)."""
    found: list[tuple[str, Date]] = []
    plain = plain_letters(text)
    lower = plain.lower()
    # A few letters become two in small letters; then places in the one text are not those in the other.
    if len(lower) != len(plain):
        lower = plain
    for pattern in _DATES:
        for match in list(pattern.finditer(lower)):
            parts = match.groupdict()
            month = _MONTHS[parts["n"]] if parts.get("n") else int(parts["m"])
            day = int(parts["d"]) if parts.get("d") else None
            if not 1 <= month <= 12 or (day is not None and not 1 <= day <= 31):
                continue
            year = int(parts["y"]) if parts.get("y") else None
            start, end = match.span()
            # Blanks in its place, so that no later pattern reads a part of the date as another date or number.
            found.append((plain[start:end], (year, month, day)))
            lower = lower[:start] + " " * (end - start) + lower[end:]
            plain = plain[:start] + " " * (end - start) + plain[end:]
    return plain, found


def agrees(date: Date, quoted: Date) -> bool:
    """Return whether a date says nothing that a quoted one does not say."""
    return all(part is None or part == other for part, other in zip(date, quoted, strict=True))


def plain_letters(text: str) -> str:
    """Return a text with plain digits, dashes and letters without accents; its capitals stay."""
    apart = "".join(
        ("^" if unicodedata.decomposition(each).startswith("<super>") else "") + each for each in text
    )
    decomposed = unicodedata.normalize("NFKD", apart).replace("\u2212", "-").replace("\u2013", "-")
    bare = "".join(each for each in decomposed if unicodedata.category(each) not in ("Mn", "Cf"))
    bare = _DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), bare)
    return unicodedata.normalize("NFC", bare).replace("\u2019", "'")


def numbers_in(text: str) -> Iterator[str]:
    """Yield the numbers of a text in one spelling: `1,282`, `1 282` and `1282` are one, and so are `3,8` and `3.8`.

    A number and the word behind it are one number: `2.5 million` is 2500000.
    """
    text = plain_letters(text)
    spelled, at = "", 0
    for found in _NUMBER.finditer(text):
        # The dash of a range, such as 5-10, is not a minus, because a digit stands before it.
        number, end = (found["sign"] or "") + _digits(found["digits"]), found.end()
        if (scale := _SCALE.match(text, end)) is not None:
            number, end = times(number, _SCALED[scale[1].lower()]), scale.end()
        yield number
        spelled, at = f"{spelled}{text[at : found.start()]};", end
    spelled += text[at:]
    for found in _SPELLED.finditer(spelled.lower()):
        if (value := _value(found[0])) is not None:
            yield str(value)


def counted_in(text: str) -> list[int]:
    """Return what a text says that its numbers count: 1,000,000 for "in millions"."""
    return [_SCALED[found[1].lower()] for found in _COUNTED.finditer(text)]


def times(number: str, scale: int) -> str:
    """Return a number of `numbers_in`, multiplied; unchanged if it cannot be read."""
    try:
        return f"{(Decimal(number) * scale).normalize():f}"
    except InvalidOperation:
        return number


def _digits(written: str) -> str:
    if regex.fullmatch(r"\d{1,3}(?:[, '\u202f\u00a0]\d{3})+(?:\.\d+)?", written):
        written = regex.sub(r"[, '\u202f\u00a0]", "", written)
    elif regex.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?", written):
        written = written.replace(".", "").replace(",", ".")
    elif written.count(",") == 1 and "." not in written:
        written = written.replace(",", ".")
    whole, dot, part = written.partition(".")
    if "." in part or "," in part:
        return written
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (dot + part if part else "")


def _value(words: str) -> int | None:
    total = current = 0
    for word in regex.findall(r"[a-z]+", words):
        if word == "and":
            continue
        if word in _SCALES:
            current = max(current, 1) * _SCALES[word]
            if _SCALES[word] > 100:
                total, current = total + current, 0
        else:
            current += 1 if word == "one" else _ORDINARY[word]
    return total + current or None
