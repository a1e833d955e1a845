"""Fonts whose characters the file describes badly: ligatures of Arabic, accents and codes of TeX's fonts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import Parser
from prefect_ollama.tasks.parsing.pdf._tex_codes import as_signs, has_codes
from tests.font_maps import map_font


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


def mapped(path: Path, lines: list[str], characters: dict[str, str]) -> Path:
    """Write lines in a font whose letters the file maps to other characters."""
    with pymupdf.open() as document:
        page = document.new_page()
        for i, line in enumerate(lines):
            page.insert_text((72, 100 + 20 * i), line, fontsize=12)
        map_font(page, characters)
        document.save(path)
    return path


def bitmaps(path: Path, text: str) -> Path:
    """Write a line in a font of pictures without a character map, as old papers have it."""
    with pymupdf.open() as document:
        page = document.new_page()
        page.insert_text((72, 100), "x")
        glyph, font, contents = document.get_new_xref(), page.get_fonts()[0][0], page.get_contents()[0]
        document.update_object(glyph, "<<>>")
        document.update_stream(glyph, b"500 0 0 0 450 700 d1 0 0 450 700 re f")
        names = " ".join(f"/a{code}" for code in range(128))
        procs = " ".join(f"/a{code} {glyph} 0 R" for code in range(128))
        document.update_object(
            font,
            "<</Type/Font /Subtype/Type3 /FontMatrix[.001 0 0 .001 0 0] /FontBBox[0 0 500 700] /FirstChar 0 "
            f"/LastChar 127 /Widths[{'500 ' * 128}] /Encoding<</Type/Encoding /Differences[0 {names}]>> "
            f"/CharProcs<<{procs}>> /Resources<<>>>>",
        )
        name = page.get_fonts()[0][4]
        document.update_stream(contents, f"BT /{name} 12 Tf 72 700 Td <{text.encode().hex()}> Tj ET".encode())
        document.save(path)
    return path


def accented(path: Path, text: str) -> Path:
    """Write a line in Helvetica, with each accent in the middle above or below the letter after it, as TeX draws it."""
    with pymupdf.open() as document:
        page = document.new_page()
        page.insert_text((72, 100), "x")
        font = pymupdf.Font("helv")
        shown = ""
        for accent, letter in zip(text, text[1:] + " ", strict=True):
            code = f"<{accent.encode('cp1252').hex()}>"
            if accent in "´¨¸`ˆ":
                width, beside = 1000 * font.text_length(accent, 1), 1000 * font.text_length(letter, 1)
                code = f"{(width - beside) / 2} {code} {width + (beside - width) / 2}"
            shown += code
        document.xref_set_key(page.get_fonts()[0][0], "Encoding", "/WinAnsiEncoding")
        name = page.get_fonts()[0][4]
        document.update_stream(page.get_contents()[0], f"BT /{name} 12 Tf 72 700 Td [{shown}] TJ ET".encode())
        document.save(path)
    return path


def words(parser: Parser, path: Path) -> str:
    return " ".join(block.text for page in parser.parse(path).pages for block in page.blocks)


# Drawn from left to right: the last letter first. "X" is one glyph for the letters lam and alef.
@pytest.mark.parametrize("ligature", ["\ufefb", "\u0644\u0627"])
def test_letters_of_arabic_ligatures_stand_in_their_order(
    parser: Parser, tmp_path: Path, ligature: str
) -> None:
    letters = {"M": "\u0645", "S": "\u0633", "X": ligature, "A": "\u0627"}
    path = mapped(tmp_path / "peace.pdf", ["MXSXA"], letters)
    assert words(parser, path) == "\u0627\u0644\u0627\u0633\u0644\u0627\u0645"


def test_a_ligature_of_three_letters_stands_in_its_order(parser: Parser, tmp_path: Path) -> None:
    letters = {"M": "\u0645", "X": "\u0644\u0645\u062d", "A": "\u0627"}
    path = mapped(tmp_path / "three.pdf", ["MXA"], letters)
    assert words(parser, path) == "\u0627\u0644\u0645\u062d\u0645"


def test_ligatures_of_latin_letters_stay_as_they_are(parser: Parser, tmp_path: Path) -> None:
    path = mapped(tmp_path / "latin.pdf", ["oXcial Yle"], {"X": "ffi", "Y": "\ufb01"})
    assert words(parser, path) == "official file"


def test_accents_that_are_drawn_by_themselves_stand_on_their_letters(parser: Parser, tmp_path: Path) -> None:
    path = accented(tmp_path / "accents.pdf", "f¨ur S´ebastien Fran¸cois tr`es Hˆotel ¨Uber")
    assert words(parser, path) == "für Sébastien François très Hôtel Über"


def test_signs_beside_letters_are_no_accents(parser: Parser, tmp_path: Path) -> None:
    text = "l´amour, it´s, `a`"
    with pymupdf.open() as document:
        document.new_page().insert_text((72, 100), text)
        document.save(tmp_path / "signs.pdf")
    assert words(parser, tmp_path / "signs.pdf") == text


@pytest.mark.parametrize("codes", ["\x1b\x1c\x1d\x1e\x1f", "\x0b\x0c\r\x0e\x0f"])
def test_codes_of_tex_ligatures_are_read(parser: Parser, tmp_path: Path, codes: str) -> None:
    text = "eAect signiBcant Cow oDce waEe turn it oA.".translate(str.maketrans("ABCDE", codes))
    path = bitmaps(tmp_path / "paper.pdf", text)
    assert words(parser, path) == "effect significant flow office waffle turn it off."


def test_quotation_marks_of_tex_are_read_where_its_ligatures_are() -> None:
    assert as_signs("\x10the \x1crst\x11 1\x152") == "“the ﬁrst” 1–2"
    assert as_signs("\x10the last\x11") == "\x10the last\x11"


def test_line_breaks_and_stray_codes_are_no_ligatures() -> None:
    text = "Heading\r\nNext\x0b Line \x0c 3\x1c4 \x1bA"
    assert has_codes(text.encode())
    assert as_signs(text) == text


def test_bullets_and_marks_with_codes_of_windows_are_read() -> None:
    assert as_signs("\x88 one\n\x88 two\ndon\x92t \x93so\x94 \x96 5 \x80") == "• one\n• two\ndon’t “so” – 5 €"


def test_plain_text_has_no_codes() -> None:
    assert not has_codes("Plain “quoted” text – with naïve ©\xa0signs\n".encode())


def test_words_that_the_file_gives_no_characters_for_are_named(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "letter.pdf"
    with pymupdf.open() as document:
        for street in ("", "Mill Lane 5", "Mill Lane 7"):
            page = document.new_page()
            for i in range(5):
                page.insert_text((72, 150 + 20 * i), "The mill was sold to its miller in spring.")
            if street:
                writer = pymupdf.TextWriter(page.rect)
                writer.append((72, 100), street, font=pymupdf.Font("helv"))
                writer.write_text(page)
        for font in {font[0] for page in document for font in page.get_fonts() if font[2] == "Type0"}:
            document.xref_set_key(font, "ToUnicode", "null")
        document.save(path)
    read = parser.parse(path)
    assert [(each.page, each.kind, each.unread) for each in read.problems] == [
        (None, "unknown-characters", False)
    ]
    assert read.problems[0].reason.startswith("22 characters on 2 pages (the first is page 2) were not read")
