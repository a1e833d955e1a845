"""A parsed document as Markdown, for people and for other programs."""

import re
from collections.abc import Iterator

from prefect_ollama.tasks.parsing.document import Block, ParsedDocument

# What would be read as a heading, a list, a quotation, a rule or code at the beginning of a line, and HTML anywhere.
_LINE_START = re.compile(r"^(\s*)([#>+*-]|\d+[.)])(?=\s)|^(\s*)(`{3,}|~{3,}|(?:[-*_]\s*){3,}$|=+\s*$)")
# Only a tag begins so; a bare "<" before a space or a number stays readable.
_HTML = re.compile(r"<(?=[A-Za-z/!?])")


def to_markdown(document: ParsedDocument) -> str:
    """Return a document as Markdown (CommonMark with GitHub's tables).

    Each page begins with a comment `<!-- page 3 -->`. A paragraph or table that goes on over a page is joined where it
    began; footnotes, running heads that stay, and comments are quoted.
    """
    return "\n\n".join(_parts(document)) + "\n"


def _parts(document: ParsedDocument) -> Iterator[str]:
    waiting: tuple[str, str] | None = None
    for page in document.pages:
        marker = f"<!-- page {page.number} -->"
        shown = False
        for block in page.blocks:
            if waiting is not None and block.continues and block.kind == waiting[0]:
                glue = "\n" if block.kind == "table" else " "
                waiting = (block.kind, f"{waiting[1]}{glue}{_plain(block)}")
                continue
            if waiting is not None:
                yield waiting[1]
                waiting = None
            if not shown:
                yield marker
                shown = True
            if block.kind in ("paragraph", "table"):
                waiting = (block.kind, _plain(block))
            else:
                yield _plain(block)
        if not shown and waiting is None:
            yield marker
    if waiting is not None:
        yield waiting[1]


def _plain(block: Block) -> str:
    if block.kind == "table":
        return block.text
    if block.kind == "code":
        # Four signs, because a listing may show three.
        return f"````\n{block.text}\n````"
    text = _LINE_START.sub(_escaped, _HTML.sub(r"\\<", block.text))
    if block.kind == "heading":
        return f"{'#' * min(max(block.level, 1), 6)} {text}"
    return f"> {text}" if block.kind in ("note", "margin", "comment") else text


def _escaped(found: re.Match[str]) -> str:
    space, mark = (found[1], found[2]) if found[2] else (found[3] or "", found[4])
    # The mark of a numbered list is the sign after the number.
    return f"{space}{mark[:-1]}\\{mark[-1]}" if mark[0].isdigit() else f"{space}\\{mark}"
