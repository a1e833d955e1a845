"""Turn a page whose text runs sideways or upside down, as wide tables on tall pages do, so that it can be read."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from prefect_ollama.tasks.parsing.pdf._glyphs import glyphs
from prefect_ollama.tasks.parsing.pdf._stext import TURNED, TextBlock
from prefect_ollama.tasks.parsing.pdf.mupdf import mupdf

# By how many degrees a page is turned clockwise for text that runs in a direction: to the right and down.
_ANGLES: Final[dict[tuple[float, float], int]] = {(0, -1): 90, (-1, 0): 180, (0, 1): 270}


def angle_of(blocks: Sequence[TextBlock]) -> int:
    """Return by how many degrees clockwise most of the text of a page has to be turned, while the page is there."""
    if TURNED not in [line[7] for block in blocks for line in block.lines]:
        return 0
    characters: Counter[int] = Counter()
    for block in blocks:
        for line, text in zip(block.lines, block.texts, strict=True):
            angle = 0
            if line[7] == TURNED:
                letter = max(glyphs(line, text), key=lambda glyph: glyph.width)
                angle = _ANGLES.get((round(letter.right, 1), round(letter.down, 1)), 0)
            characters[angle] += len(text)
    angle, most = characters.most_common(1)[0]
    return angle if 2 * most > characters.total() else 0


def turn(page: Any, angle: int) -> None:
    """Turn a page of MuPDF clockwise, from when it is loaded again."""
    entries = mupdf.ll_pdf_page_from_fz_page(page).obj
    before = mupdf.ll_pdf_to_int(mupdf.ll_pdf_dict_gets_inheritable(entries, "Rotate"))
    rotation = mupdf.ll_pdf_new_int((before + angle) % 360)
    try:
        mupdf.ll_pdf_dict_puts(entries, "Rotate", rotation)
    finally:
        mupdf.ll_pdf_drop_obj(rotation)
