"""Words of a passage that are marked on a page, and the picture of the page."""

from dataclasses import dataclass
from typing import Final, Self

# Characters on each side of the words that distinguish them from the same words elsewhere in the passage.
_AROUND: Final = 200


@dataclass(frozen=True, slots=True)
class Quoted:
    """Words of a passage, with what stands around them.

    Attributes:
        text: The words, in the passage's own characters.
        before: Characters of the passage before them.
        after: Characters of the passage after them.
        repeated: Whether the passage has the same words elsewhere too.
    """

    text: str
    before: str = ""
    after: str = ""
    repeated: bool = False

    @classmethod
    def of(cls, passage: str, start: int, end: int) -> Self:
        """Return the words of a passage between two places, in characters."""
        text = passage[start:end]
        before, after = passage[max(0, start - _AROUND) : start], passage[end : end + _AROUND]
        return cls(text, before, after, passage.count(text) > 1)


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A page as it looks, with rectangles or words marked.

    Attributes:
        png: The picture; empty if the page has none of the words.
        share: Share of the words' letters and digits that are marked on this page, 0 to 1; 0 without words.
    """

    png: bytes = b""
    share: float = 0.0
