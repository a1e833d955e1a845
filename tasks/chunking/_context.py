"""The context that is embedded before a chunk's text and not shown: the names of its document, section and table.

A passage of a report names neither the company nor the year. The title of the document, running heads, the headings
above it, and the title and units of a table do.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Final

from prefect_ollama.tasks.parsing import Block, Page, ParsedDocument

# A part of the context takes no more characters than this.
_MAX_PART_CHARACTERS: Final = 120
# Words are compared without signs, so that "2023-24" and "2023/24" are the same.
_WORD: Final = re.compile(r"[^\W_]+")
# Signs that stand for spaces in names of files.
_SEPARATORS: Final = re.compile(r"[\s_.,+\-–—]+")
# Titles and names that programs make, and that say nothing about a document.
_GENERIC: Final = re.compile(
    r"(?:microsoft (?:word|powerpoint|excel)(?: -)?.*|untitled\W*\d*|(?:new )?(?:document|presentation|file)\W*\d*|"
    r"title|slide\W*\d*|for (?:immediate )?release|press release|none|null|unknown)",
    re.IGNORECASE,
)
_GENERIC_NAME: Final = re.compile(
    r"(?:scan(?:ned)?|img|image|dsc|doc|document|file|page|untitled|download|print|copy|new|tmp|temp|output|out)?"
    r"(?: of)?[\W_]*\d*(?: ?\(\d+\))?",
    re.IGNORECASE,
)
# Names that are keys: hashes and UUIDs.
_KEY: Final = re.compile(r"(?=.*\d)[0-9a-f][0-9a-f-]{11,}", re.IGNORECASE)
# Running heads that lead back to a table of contents, or say how far the pages are.
_NAVIGATION: Final = re.compile(
    r"(?:back to )?(?:table of )?contents?|index|page.{0,12}|draft|confidential|continued|www\..*|https?:.*",
    re.IGNORECASE,
)


class Context:
    """Writes the context of the chunks of one document.

    Args:
        max_tokens: Length that the context never exceeds.
    """

    def __init__(self, document: str, max_tokens: int, count_tokens: Callable[[str], int]) -> None:
        self._document = document
        self._max_tokens = max_tokens
        self._count = count_tokens
        self._known: dict[str, int] = {}

    def before(self, text: str, *, heads: Sequence[str], path: Sequence[str], table: str) -> str:
        """Return the lines that are embedded before a text, empty if there is nothing to add.

        Args:
            heads: Running heads and feet of its page.
            path: Headings above it, the highest first.
            table: Title and units of the table that it begins with; empty if it begins with none.
        """
        said = _words(text[: 4 * _MAX_PART_CHARACTERS])
        document, table = _short(self._document), _short(table)
        path = [_short(part) for part in path]
        heads = [_short(head) for head in heads if _is_informative_head(head)]
        # Parts are chosen by importance while there is room, and written in the order of the document.
        order = [document, table, *reversed(path), *heads]
        chosen: set[str] = set()
        room = self._max_tokens
        for part in order:
            words = _words(part)
            # The document is named even if the text names it, too.
            if not words or part in chosen or (part is not document and words <= said):
                continue
            tokens = self._length(part)
            if tokens <= room:
                room -= tokens
                chosen.add(part)
                said |= words
        lines = [[document], heads, path, [table]]
        written = [" > ".join(dict.fromkeys(part for part in line if part in chosen)) for line in lines]
        return "\n".join(dict.fromkeys(line for line in written if line))

    def _length(self, part: str) -> int:
        if part not in self._known:
            self._known[part] = self._count(part) + 1
        return self._known[part]


def without_running_heads(document: ParsedDocument) -> ParsedDocument:
    """Remove running heads from the text of their first page, because they are context there as on later pages.

    In the text they would stand between sentences, or at the end of a chunk. A head stays in the text if it
    distinguishes its page, if no context holds it, or if it is the only text of its page.
    """
    repeated = {head for page in document.pages for head in page.heads if _is_informative_head(head)}
    if not repeated:
        return document
    return replace(document, pages=tuple(_without_heads(page, repeated) for page in document.pages))


def _without_heads(page: Page, repeated: set[str]) -> Page:
    def is_head(block: Block) -> bool:
        return block.kind == "margin" and block.text in repeated

    rest = tuple(block for block in page.blocks if not is_head(block))
    if len(rest) in (0, len(page.blocks)):
        return page
    return replace(
        page, blocks=rest, heads=(*page.heads, *(block.text for block in page.blocks if is_head(block)))
    )


def document_name(title: str, file: str) -> str:
    """Return the name of a document: its title, and the words that only the name of its file has.

    Args:
        title: Title by its metadata or first page; what programs put there is left out.
        file: Name of the file, or its path; a name that is only a number or a key is left out.
    """
    title = " ".join(title.split())
    if not is_informative(title):
        title = ""
    name = " ".join(_SEPARATORS.sub(" ", PurePath(file).stem).split())
    if len(name) < 3 or _GENERIC_NAME.fullmatch(name) or _KEY.fullmatch(name.replace(" ", "-")):
        name = ""
    if not title or _words(title) < _words(name):
        return name or title
    return title if _words(name) <= _words(title) else f"{name}, {title}"


def is_informative(title: str) -> bool:
    """Return whether a title describes a document: it has a word, and no program made it."""
    return (
        re.search(r"[^\W\d_]{3}", title) is not None
        and not _GENERIC.fullmatch(title.strip())
        and not re.fullmatch(
            r"\S+\.(?:pdf|docx?|xlsx?|pptx?|indd|qxd|tex|dvi|ps)", title.strip(), re.IGNORECASE
        )
    )


def _is_informative_head(head: str) -> bool:
    return _NAVIGATION.fullmatch(head.strip()) is None


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}


def _short(part: str) -> str:
    if len(part) <= _MAX_PART_CHARACTERS:
        return part
    return part[:_MAX_PART_CHARACTERS].rsplit(" ", 1)[0]
