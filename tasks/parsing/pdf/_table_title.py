"""The title of a table: the lines right above it that name it and say its units."""

import re
from collections.abc import Sequence
from typing import Final

from prefect_ollama.tasks.parsing.document import Block, Box

# Maximum number of blocks above a table that may be its title, and of characters in each block.
_MAX_BLOCKS: Final = 5
_MAX_TITLE_CHARACTERS: Final = 160
# Above the table, and between each other, they have no more space than this, in points.
_FAR: Final = 40
# A sentence that ends so leads to the table; others do not belong to it.
_LEADS: Final = ":"
# A link at the top of pages.
_NAVIGATION: Final = re.compile(
    r"(?:back to )?(?:table of )?contents|(?:general )?index.{0,40}", re.IGNORECASE
)
# A line that ends so is a sentence, and no title.
_ENDS: Final = (".", ";", ",", "!", "?")


def table_title(above: Sequence[Block], box: Box) -> str:
    """Return the title of a table, empty if no line names it.

    Args:
        above: The blocks before it on its page, in reading order.
    """
    found: list[str] = []
    top = box.y0
    for block in reversed(above[-_MAX_BLOCKS:]):
        text = block.text
        if (
            block.kind not in ("heading", "paragraph", "margin")
            or len(text) > _MAX_TITLE_CHARACTERS
            or text.endswith(_ENDS)
            or _NAVIGATION.fullmatch(text)
            or not 0 <= top - block.box.y1 + 12 <= _FAR + 12
        ):
            break
        if block.box.x1 < box.x0 or block.box.x0 > box.x1 or not any(map(str.isalpha, text)):
            break
        if found and text.endswith(_LEADS):
            break
        found.insert(0, text)
        top = block.box.y0
    return " ".join(dict.fromkeys(found))
