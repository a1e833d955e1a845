"""Reads the Markdown sources: every text comes out as HTML sections with their footnotes apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

TEXTS = Path(__file__).parent / "texts"
_MARKDOWN = MarkdownIt("commonmark", {"html": True, "typographer": True}).enable(
    ["table", "replacements", "smartquotes"]
)
_NOTE = re.compile(r"^\[\^(\w+)\]: (.+)$", re.MULTILINE)
_REFERENCE = re.compile(r"\[\^(\w+)\]")
_CHAPTER = re.compile(r"^(?=# )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of a text that starts on a page of its own: `title` is plain, `html` the body below it."""

    title: str
    html: str


@dataclass(frozen=True, slots=True)
class Text:
    """A whole source: its sections in order, and the HTML of each footnote by its mark."""

    sections: tuple[Section, ...]
    notes: dict[str, str]


def read(name: str) -> Text:
    """Read `texts/<name>`; each first-level heading opens a section."""
    source = (TEXTS / name).read_text(encoding="utf-8")
    notes = {mark: _MARKDOWN.renderInline(body) for mark, body in _NOTE.findall(source)}
    source = _REFERENCE.sub(r'<sup id="note-\1">\1</sup>', _NOTE.sub("", source))
    sections = []
    for part in _CHAPTER.split(source):
        if not part.strip():
            continue
        head, _, body = part.partition("\n")
        sections.append(Section(head.removeprefix("# ").strip(), _MARKDOWN.render(body)))
    return Text(tuple(sections), notes)
