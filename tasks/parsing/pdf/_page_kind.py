"""Decide whether a page needs more than reading its text: a look at its pictures, or OCR.

Each of these steps takes longer than reading the page, so it is done only on pages with a sign that it is needed.
"""

import re
from typing import Final

from prefect_ollama.tasks.parsing.pdf._layout import Piece, RawPage, letters_and_digits

# A page with fewer characters than this may be a scan, if it has pictures.
_FEW_IF_ALL_PICTURE: Final = 200
# A page with fewer characters whose pictures cover more than this share of it is a scan.
_FEW_CHARACTERS: Final = 20
_COVERED: Final = 0.5
# Part of the page that the pictures of a stamped scan ("Downloaded from …") cover: most are one picture.
_ALL_PICTURE: Final = 0.9
# U+FFFD, the private use area and controls, which a font without a character map yields.
_UNKNOWN: Final = re.compile(rb"\xef(?:\xbf\xbd|[\x80-\xa3])|\xee|[\x00-\x08\x0b-\x1f]")
# A word without any known character; one or two unknown ones are signs of a formula.
_UNKNOWN_WORD: Final = re.compile(rb"(?:\xef\xbf\xbd){3,}")
# A text is garbled if a larger part of its characters is unknown.
_GARBLED: Final = 0.2


def is_sparse(text: bytes) -> bool:
    """Return whether a page has so few characters (given as UTF-8) that its pictures may be its content."""
    return len(text) < 4 * _FEW_IF_ALL_PICTURE and characters(text) < _FEW_IF_ALL_PICTURE


def is_garbled(text: bytes) -> bool:
    """Return whether more than a few of a page's characters (given as UTF-8) have no meaning."""
    unknown = len(_UNKNOWN.findall(text))
    return unknown > 0 and unknown > _GARBLED * characters(text) >= _GARBLED * _FEW_CHARACTERS


def unknown_words(text: bytes) -> int:
    """Return how many characters of a page (given as UTF-8) are in words without any known one."""
    if b"\xef\xbf\xbd" not in text:
        return 0
    return sum(len(word) for word in _UNKNOWN_WORD.findall(text)) // 3


def is_mostly_unknown(piece: Piece) -> bool:
    """Return whether a piece is garbled. Most garbled pages also have lines in a font that is not."""
    text = piece.text
    if piece.table is not None:
        text = " ".join(cell for row in piece.table.rows for cell in row)
    encoded = text.encode("utf-8", "replace")
    return len(_UNKNOWN.findall(encoded)) > _GARBLED * characters(encoded)


def keep_beside(page: RawPage, before: RawPage, why: str) -> None:
    """Add to a page of OCR the content from before that OCR does not see or may have misread.

    A page for which `why` is "scanned" may have a few lines of text on its picture, such as a number that was stamped
    on each.
    """
    page.comments, page.files, page.hidden = before.comments, before.files, before.hidden
    if why == "scanned":
        read = "".join(letters_and_digits(piece.text) for piece in page.pieces)
        page.pieces += [
            piece
            for piece in before.pieces
            if piece.text and letters_and_digits(piece.text) not in read and not is_mostly_unknown(piece)
        ]


def characters(text: bytes) -> int:
    """Return the number of characters of a text in UTF-8, without white space."""
    return len("".join(text.decode("utf-8", "replace").split()))


def is_scan(page: RawPage, pictures: list[tuple[float, float, float, float]]) -> bool:
    """Return whether a page is a picture of text, from the places of its pictures."""
    share = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in pictures) / max(1.0, page.width * page.height)
    count = page.characters
    return (count < _FEW_CHARACTERS and share > _COVERED) or (
        count < _FEW_IF_ALL_PICTURE and share > _ALL_PICTURE
    )
