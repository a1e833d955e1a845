"""Sets HTML in pages: columns, footnotes at the foot of their column, running heads, page numbers.

Pages are measured in points with the origin at the top left. The same input gives the same pages.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pymupdf

from samples.make.text import Section

A4 = (595.0, 842.0)
A5 = (420.0, 595.0)
CSS = """
body { font-family: serif; font-size: 10.5px; line-height: 1.32; text-align: justify; hyphens: auto; margin: 0 }
p { margin: 0 0 5px 0 }
h1 { font-size: 20px; line-height: 1.15; text-align: left; hyphens: none; margin: 0 0 14px 0 }
.next { margin-top: 24px }
h2 { font-size: 13px; line-height: 1.2; text-align: left; hyphens: none; margin: 12px 0 4px 0 }
h3 { font-size: 11px; line-height: 1.2; text-align: left; hyphens: none; margin: 9px 0 3px 0; font-style: italic }
ul, ol { margin: 0 0 6px 0; padding-left: 16px }
li { margin: 0 0 2px 0 }
table { margin: 6px 0 10px 0; width: 100%; border-collapse: collapse }
th { font-weight: bold; text-align: left; hyphens: none; padding: 2px 6px 2px 0; border-bottom: 1px solid black }
td { text-align: left; hyphens: none; padding: 2px 6px 2px 0; vertical-align: top }
pre, code { font-family: monospace; text-align: left; hyphens: none }
blockquote { margin: 4px 18px 8px 18px; font-style: italic }
.notes { font-size: 8px; line-height: 1.25; border-top: 0.5px solid black; padding-top: 3px }
sup { font-size: 70%; line-height: 0.5 }
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """How pages look. Margins are top, right, bottom, left in points; `running` makes (left, right)
    of the head line from page number and section title, and `foot` the centred line below."""

    size: tuple[float, float] = A4
    margins: tuple[float, float, float, float] = (72, 64, 68, 64)
    columns: int = 1
    gutter: float = 20
    css: str = ""
    language: str = "en"
    direction: str = "ltr"
    running: Callable[[int, str], tuple[str, str]] | None = None
    foot: Callable[[int], str] | None = lambda number: str(number)


@dataclass(slots=True)
class Pages:
    """What typesetting gives: the PDF, its outline as `[level, title, page]`, and where each
    footnote's mark fell, as (page, column), both counted from 0."""

    pdf: bytes
    outline: list[list[int | str]] = field(default_factory=list)
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)


def typeset(
    sections: Sequence[Section],
    layout: Layout,
    *,
    notes: dict[str, str] | None = None,
    banner: str = "",
    new_page: bool = True,
) -> Pages:
    """Set the sections, each under an `<h1>`; `banner` is HTML over the full width of the first page.

    With `new_page` false the sections follow each other. Footnotes need room where their mark falls,
    which moves the marks, so pages are set again until no mark moves (three times at most).
    """
    notes = notes or {}
    pages = _pass(sections, layout, notes, {}, banner, new_page)
    for _ in range(3):
        if not notes:
            break
        again = _pass(sections, layout, notes, pages.marks, banner, new_page)
        settled, pages = again.marks == pages.marks, again
        if settled:
            break
    return pages


def body_of(html: str, layout: Layout) -> pymupdf.Story:
    """Return a story of the HTML in the layout's language, direction and style."""
    opening = f'<html lang="{layout.language}"><body lang="{layout.language}" dir="{layout.direction}">'
    return pymupdf.Story(f"{opening}{html}</body></html>", user_css=CSS + layout.css)


def _pass(
    sections: Sequence[Section],
    layout: Layout,
    notes: dict[str, str],
    marks: dict[str, tuple[int, int]],
    banner: str,
    new_page: bool,
) -> Pages:
    out = Pages(b"")
    buffer = io.BytesIO()
    writer = pymupdf.DocumentWriter(buffer)
    width, height = layout.size
    top, right, bottom, left = layout.margins
    number = -1

    groups = sections if new_page else [Section(sections[0].title, _joined(sections))]
    for group in groups:
        heading = "" if banner and group is groups[0] else f"<h1>{group.title}</h1>"
        story = body_of(heading + group.html, layout)
        if banner and group is groups[0]:
            out.outline.append([1, group.title, 1])
        more = 1
        while more:
            number += 1
            if number > 400:
                raise RuntimeError(
                    f"section {group.title!r} does not end: an element is larger than its column"
                )
            device = writer.begin_page(pymupdf.Rect(0, 0, width, height))
            ceiling = top
            if number == 0 and banner:
                head = body_of(banner, layout)
                _, filled = head.place(pymupdf.Rect(left, top, width - right, height - bottom))
                head.draw(device)
                ceiling = pymupdf.Rect(filled).y1 + 12
            span = (width - left - right - layout.gutter * (layout.columns - 1)) / layout.columns
            for column in range(layout.columns):
                at = layout.columns - 1 - column if layout.direction == "rtl" else column
                x = left + at * (span + layout.gutter)
                here = [mark for mark, place in marks.items() if place == (number, column)]
                floor = _footnotes(device, here, notes, layout, x, span, height - bottom)
                if not more:
                    continue
                more, _ = story.place(pymupdf.Rect(x, ceiling, x + span, floor))
                story.element_positions(_collector(out, number, column))
                story.draw(device)
            _running(device, layout, number + 1, group.title)
            writer.end_page()
    writer.close()
    out.pdf = buffer.getvalue()
    return out


def _joined(sections: Sequence[Section]) -> str:
    first, *others = sections
    return first.html + "".join(f'<h1 class="next">{section.title}</h1>{section.html}' for section in others)


def _collector(out: Pages, number: int, column: int) -> Callable[[pymupdf.Story], None]:
    def collect(position: object) -> None:
        level, mark = position.heading, position.id or ""  # type: ignore[attr-defined]
        if level and level <= 3 and position.open_close == 1 and position.text:  # type: ignore[attr-defined]
            out.outline.append([level, " ".join(position.text.split()), number + 1])  # type: ignore[attr-defined]
        if mark.startswith("note-"):
            out.marks.setdefault(mark.removeprefix("note-"), (number, column))

    return collect


def _footnotes(
    device: object,
    marks: list[str],
    notes: dict[str, str],
    layout: Layout,
    x: float,
    span: float,
    floor: float,
) -> float:
    """Draw the notes upwards from `floor`; return the height at which the column must now end."""
    if not marks:
        return floor
    html = "".join(f'<p class="note"><sup>{mark}</sup> {notes[mark]}</p>' for mark in marks)
    story = body_of(f'<div class="notes">{html}</div>', layout)
    _, filled = story.place(pymupdf.Rect(x, 0, x + span, 600))
    tall = pymupdf.Rect(filled).height
    story.reset()
    story.place(pymupdf.Rect(x, floor - tall - 2, x + span, floor + 2))
    story.draw(device)
    return floor - tall - 10


def _running(device: object, layout: Layout, number: int, title: str) -> None:
    width, height = layout.size
    top, right, bottom, left = layout.margins
    plain = "font-size: 8px; hyphens: none; margin: 0"
    if layout.running is not None:
        first, second = layout.running(number, title)
        for words, align in ((first, "left"), (second, "right")):
            if words:
                line = body_of(f'<p style="{plain}; text-align: {align}">{words}</p>', layout)
                line.place(pymupdf.Rect(left, top - 30, width - right, top - 8))
                line.draw(device)
    if layout.foot is not None and (words := layout.foot(number)):
        line = body_of(f'<p style="{plain}; text-align: center">{words}</p>', layout)
        line.place(pymupdf.Rect(left, height - bottom + 18, width - right, height - bottom + 40))
        line.draw(device)
