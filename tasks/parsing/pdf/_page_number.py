"""The page number that a line holds: alone, after the word "page", or set apart from the words of a running head."""

import re
from typing import Final, NamedTuple

from prefect_ollama.tasks.parsing.pdf._layout import Cell

# "Page" in languages of Europe and East Asia. In others a number alone is still found.
_LABEL: Final = (
    r"(?:pages?|pg\.?|p\.|seite|s\.|pág(?:ina|\.)|pagina|side|sida|strona|str\.|страница|стр\.|第)"
)
# Number of pages after the page number, as in "3 of 12".
_OF: Final = r"(?:\s*(?:of|out of|/|von|sur|de|di|af|av|z|из)\s*(?P<of>\d{1,5})|\s*[頁页]|\s*ページ)?"
# Roman numbers are those of prefaces, so they have no D and M.
_VALUE: Final = r"(?P<value>\d{1,5}|[ivxlc]{1,8})"
# Signs around a page number, as in "- 12 -".
_FRAME: Final = r"[\s\-–—·|•~<>\[\]()/]*"
_ALONE: Final = re.compile(f"{_FRAME}(?P<label>{_LABEL})?{_FRAME}{_VALUE}{_OF}{_FRAME}", re.IGNORECASE)
# Within a longer line only the unambiguous words count: "p." and "s." may be initials.
_LABELLED: Final = re.compile(
    rf"{_FRAME}(?<!\w)(?P<label>pages?|seite|página|pagina|страница)\s*(?P<value>\d{{1,5}}){_OF}(?!\w){_FRAME}",
    re.IGNORECASE,
)
# A number at an end of the line behind a sign that separates it from the words.
_PARTED: Final = re.compile(
    r"(?P<value>\d{1,4})\s*(?:[|·•]|\s[–—-]\s)\s*(?P<after>\D.*)|(?P<before>.*\D)\s*(?:[|·•]|\s[–—-]\s)\s*(?P<last>\d{1,4})"
)
# Beside fewer letters, a number may be that of a lot or an invoice: the words are its name.
_MIN_LETTERS: Final = 12
# A sign of East Asia says about as much as so many letters.
_SIGN_LETTERS: Final = 3
# A longer line is text.
_MAX_CHARACTERS: Final = 200
# A longer line without a digit holds no number: "page xxxviii" between dashes.
_MAX_ROMAN: Final = 20
# A quick test: most lines at the edge of a page have no digit, and are not searched further.
_DIGIT: Final = re.compile(r"\d")
_PRINTED: Final = re.compile(r"\d{1,5}|\b[ivxlc]{1,8}\b", re.IGNORECASE)
# No page has a number of 500 or more in Roman digits.
_ROMAN: Final = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


class PageNumber(NamedTuple):
    """A number that may be a page number.

    Attributes:
        rest: The rest of the line.
        labelled: Whether the word "page" stands before it.
        of: Number of pages that the line names after it, 0 for none.
    """

    value: int
    rest: str = ""
    labelled: bool = False
    of: int = 0


def page_number(text: str, rows: list[list[Cell]] | None = None) -> PageNumber | None:
    """Return the page number that a line may hold; None without one.

    The number in "Lot 101" is not a page number: only its words show that it belongs to the content of the page.
    """
    if len(text) > _MAX_CHARACTERS or (len(text) > _MAX_ROMAN and not _DIGIT.search(text)):
        return None
    if match := _ALONE.fullmatch(text):
        return PageNumber(_value(match["value"]), "", match["label"] is not None, int(match["of"] or 0))
    if match := _LABELLED.search(text):
        rest = f"{text[: match.start()]} {text[match.end() :]}".strip()
        return PageNumber(int(match["value"]), rest, True, int(match["of"] or 0))
    return _number_beside_head(text, rows)


def printed_number(text: str, value: int) -> str:
    """Return a page number as a line has it, in digits or Roman ones."""
    return next((each for each in _PRINTED.findall(text) if _value(each) == value), "")


def _number_beside_head(text: str, rows: list[list[Cell]] | None) -> PageNumber | None:
    """Return the number beside a running head on the same line, separated by space; None without such a number."""
    if rows is not None and len(rows) == 1 and len(rows[0]) > 1:
        cells = [" ".join(cell.text.split()) for cell in rows[0]]
        for number, rest in ((cells[0], cells[1:]), (cells[-1], cells[:-1])):
            if (match := _ALONE.fullmatch(number)) and _is_head(words := " ".join(rest)):
                return PageNumber(_value(match["value"]), words)
    if match := _PARTED.fullmatch(text):
        words = (match["after"] or match["before"]).strip()
        if _is_head(words):
            return PageNumber(int(match["value"] or match["last"]), words)
    return None


def _is_head(words: str) -> bool:
    """Return whether words are a running head, and not the name of the number beside them."""
    letters = sum(_SIGN_LETTERS if character > "\u2e7f" else 1 for character in words if character.isalpha())
    return letters >= _MIN_LETTERS and not words.endswith((":", "#", "№"))


def _value(digits: str) -> int:
    if digits.isdecimal():
        return int(digits)
    values = [_ROMAN[letter] for letter in digits.lower()]
    return sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )
