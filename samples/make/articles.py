"""The documents that are running text: each function gives one file, and says what kind it stands for."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path

import pymupdf

from samples.make.finish import Meta, finish
from samples.make.text import Section, read
from samples.make.typeset import A4, A5, Layout, Pages, typeset

LICENSE = Path(__file__).parents[2] / "LICENSE"


def tides() -> bytes:
    """Two columns, footnotes, running heads, a table, hyphenated line ends."""
    text = read("tides.md")
    layout = Layout(
        size=A4,
        margins=(76, 54, 66, 54),
        columns=2,
        gutter=20,
        css="body { font-size: 10px; line-height: 1.3 } h2 { font-size: 11.5px } h3 { font-size: 10px }",
        running=lambda n, _: (
            ("Sample Reviews in Physical Geography, No. 1", "") if n % 2 else ("", "The Ocean Tides")
        ),
    )
    banner = (
        f'<h1 style="text-align: center; margin-bottom: 6px">{text.sections[0].title}</h1>'
        '<p style="text-align: center; font-size: 9px">prefect-ollama samples</p>'
        '<p style="margin: 10px 36px 0 36px; font-size: 9px"><b>Abstract.</b> Tides are caused by the difference '
        "between the pull of the Moon and the Sun at the surface of the Earth and at its centre. Their size at a coast "
        "depends on how the basin answers to that rhythm. The paper explains the force, the cycles, resonance, the "
        "harmonic method of prediction, observation from the staff to the satellite, and what the tides do "
        "to the Earth and the Moon.</p>"
    )
    pages = typeset(text.sections, layout, notes=text.notes, banner=banner)
    meta = Meta(
        "The Ocean Tides: Forces, Resonance and Prediction",
        "Physical geography",
        "tides, Moon, harmonic analysis",
    )
    return _file(pages, meta)


def printing_press() -> bytes:
    """One justified column in small format: ligatures, hyphens, running heads on both sides."""
    text = read("printing-press.md")
    title = text.sections[0].title
    layout = Layout(size=A5, margins=(58, 50, 56, 50), running=_sides("Sample Essays", title))
    return _file(
        typeset(text.sections, layout), Meta(title, "History of technology", "Gutenberg, type, books")
    )


def sourdough() -> bytes:
    """A cookbook: recipes with tables, numbered steps, a new page for each chapter."""
    text = read("sourdough.md")
    css = "body { font-size: 10px } h1 { font-size: 17px }"
    layout = Layout(size=A5, margins=(54, 46, 52, 46), css=css, running=_sides("Sourdough", None))
    return _file(
        typeset(text.sections, layout),
        Meta("Sourdough: a short course", "Baking", "sourdough, rye, fermentation"),
    )


def weather_station() -> bytes:
    """A user manual: short sections, lists, tables that break over pages."""
    text = read("weather-station.md")
    css = "body { font-family: sans-serif; font-size: 9.5px; text-align: left; hyphens: none } h1 { font-size: 18px }"
    layout = Layout(
        size=A5, margins=(54, 44, 52, 44), css=css, running=_sides("WS-4 user manual (example)", None)
    )
    meta = Meta(
        "WS-4 garden weather station: user manual (example device)", "User manual", "weather, manual, example"
    )
    return _file(typeset(text.sections, layout), meta)


def line_telemetry() -> bytes:
    """A protocol specification in typewriter face, with the head and foot lines of an RFC."""
    text = read("line-telemetry.md")
    css = (
        "body { font-family: monospace; font-size: 9.5px; text-align: left; hyphens: none }"
        "h1 { font-size: 13px; text-align: center } h2, h3 { font-size: 9.5px; font-style: normal }"
        "p, pre, table { margin-left: 18px } pre { font-size: 9px }"
    )
    layout = Layout(
        size=A4,
        margins=(80, 82, 80, 82),
        css=css,
        running=lambda n, _: ("Example specification", "January 2026") if n > 1 else ("", ""),
        foot=lambda n: f"Line Telemetry Protocol, Version 1 &nbsp;&nbsp;&nbsp;&nbsp;&nbsp;&nbsp; [Page {n}]",
    )
    return _file(
        typeset(text.sections, layout),
        Meta("Line Telemetry Protocol, Version 1 (example)", "Specification", "protocol"),
    )


def measuring() -> bytes:
    """The long one: a book with title page, printed contents, chapters and an outline."""
    text = read("measuring.md")
    layout = Layout(
        size=A5,
        margins=(62, 52, 58, 52),
        css="body { font-size: 11px; line-height: 1.36 } h1 { margin: 40px 0 22px 0 }",
        running=lambda n, title: (
            ("", "") if n < 3 else (("Measuring the World", "") if n % 2 == 0 else ("", title))
        ),
        foot=lambda n: "" if n < 3 else str(n),
    )
    title = "Measuring the World"
    front = Section(
        title,
        "<p>How people learned to tell the time, the weight, the warmth and the size of things</p>"
        "<p>prefect-ollama samples, 2026</p><p>Dedicated to the public domain under CC0 1.0.</p>",
    )
    contents = Section("Contents", "")
    for _ in range(2):
        pages = typeset([front, contents, *text.sections], layout)
        rows = "".join(
            f"<tr><td>{name}</td><td style='text-align: right'>{page}</td></tr>"
            for level, name, page in pages.outline
            if level == 1 and name not in (title, "Contents")
        )
        contents = Section("Contents", f"<table>{rows}</table>")
    return _file(
        pages, Meta("Measuring the World", "History of science", "time, length, mass, temperature, Earth")
    )


def agpl() -> bytes:
    """Licence text in numbered sections: the project's own LICENSE, word for word."""
    blocks = [block for block in LICENSE.read_text(encoding="utf-8").split("\n\n") if block.strip()]
    title, *others = blocks
    html = []
    for block in others:
        words = escape(" ".join(block.split()))
        centred = block.startswith("      ") and len(words) < 60
        html.append(
            f"<h2>{words}</h2>"
            if centred or re.match(r"^\d+\. [A-Z][^.]{2,70}\.$", words)
            else f"<p>{words}</p>"
        )
    name = "GNU Affero General Public License"
    lines = " ".join(title.split())
    layout = Layout(
        size=A5,
        margins=(54, 44, 50, 44),
        css="body { font-size: 9.5px } h2 { font-size: 10.5px }",
        running=_sides(name, "Version 3, 19 November 2007"),
    )
    pages = typeset([Section(name, f"<p>{escape(lines)}</p>" + "".join(html))], layout)
    return _file(
        pages, Meta(f"{name}, version 3", "Licence", "licence, copyleft", author="Free Software Foundation")
    )


def salz_de() -> bytes:
    """German: long compounds, umlauts, German hyphenation."""
    return _foreign("salz-de.md", "de", "Geschichte", "Salz, Handel, Hallstatt")


def canal_fr() -> bytes:
    """French: accents, spaces before colons, guillemets."""
    return _foreign("canal-fr.md", "fr", "Histoire", "canal du Midi, Riquet")


def cha_ja() -> bytes:
    """Japanese: no spaces between words, full-width punctuation, a table."""
    css = "body { font-size: 10.5px; line-height: 1.65; hyphens: none } h2 { font-size: 13px }"
    return _foreign("cha-ja.md", "ja", "食文化", "茶", css=css)


def dead_sea_he() -> bytes:
    """Hebrew: right to left, with numbers that run left to right inside."""
    css = "body { font-size: 11.5px; line-height: 1.45; hyphens: none }"
    return _foreign("dead-sea-he.md", "he", "גאוגרפיה", "ים המלח", css=css, direction="rtl")


def _foreign(
    source: str, language: str, subject: str, keywords: str, *, css: str = "", direction: str = "ltr"
) -> bytes:
    text = read(source)
    title = text.sections[0].title
    layout = Layout(
        size=A5,
        margins=(58, 50, 56, 50),
        css=css,
        language=language,
        direction=direction,
        running=lambda n, _: (title, "") if n > 1 and direction == "ltr" else ("", title if n > 1 else ""),
    )
    return _file(typeset(text.sections, layout), Meta(title, subject, keywords, language=language))


def _sides(left: str, right: str | None) -> Callable[[int, str], tuple[str, str]]:
    """Running heads: `left` on even pages, `right` (or the section's title) on odd ones, none on the first."""

    def running(number: int, title: str) -> tuple[str, str]:
        if number == 1:
            return "", ""
        return (left, "") if number % 2 == 0 else ("", right if right is not None else title)

    return running


def _file(pages: Pages, meta: Meta) -> bytes:
    return finish(pymupdf.open("pdf", pages.pdf), meta, pages.outline)
