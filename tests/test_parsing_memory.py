"""Lines read from MuPDF's memory: the very ones that MuPDF prints, and none that are not first shown to be so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pymupdf
import pytest

from prefect_ollama.tasks.parsing.pdf import _stext as stext
from prefect_ollama.tasks.parsing.pdf import mupdf
from prefect_ollama.tasks.parsing.pdf._stext import TextBlock, from_json
from prefect_ollama.tasks.parsing.pdf.page_text import Pages

SAMPLES = Path(__file__).parent.parent / "samples"
TIDES = SAMPLES / "tides.pdf"
SCALE = 1000.0


def pages(path: Path) -> Iterator[tuple[list[TextBlock], list[TextBlock] | None]]:
    """The blocks of each page of a file as MuPDF prints them, and as they are read from its memory."""
    raw, reader = mupdf.mupdf, stext.StructuredText(mupdf.mupdf)
    with path.open("rb") as file, mupdf.opened(file.fileno(), []) as document:
        for page in document:
            text = page.get_textpage(flags=pymupdf.TEXT_CLIP)
            structured = text.this.m_internal
            yield (
                from_json(
                    orjson.loads(_printed(structured, raw.ll_fz_print_stext_page_as_json, SCALE)), SCALE
                ),
                reader.read(
                    structured,
                    _printed(structured, raw.ll_fz_print_stext_page_as_text).decode("utf-8", "replace"),
                ),
            )


def _printed(structured: Any, how: Any, *scale: float) -> bytes:
    buffer = mupdf.mupdf.ll_fz_new_buffer(1024)
    how(mupdf.mupdf.ll_fz_new_output_with_buffer(buffer), structured, *scale)
    printed: bytes = mupdf.mupdf.ll_fz_buffer_to_bytes_internal(buffer, 0)
    return printed.replace(b"\n", b"") if scale else printed


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.pdf")))
def test_the_samples_are_read_from_memory_as_mupdf_prints_them(name: str) -> None:
    compared = 0
    for printed, read in pages(SAMPLES / name):
        if read is None:  # A page with too little on it to tell how memory is laid out.
            continue
        assert [block.texts for block in read] == [block.texts for block in printed]
        for one, other in zip(read, printed, strict=True):
            assert one[:4] == pytest.approx(other[:4], abs=2 / SCALE)
            for line, same in zip(one.lines, other.lines, strict=True):
                assert line[:7] == pytest.approx(same[:7], abs=2 / SCALE)
                assert line[7] in (same[7], stext.TURNED)  # The JSON does not say that a line is turned.
            assert one.even == other.even
        compared += len(read)
    assert compared > 10 or name == "lamp-scan.pdf"


def test_a_mupdf_that_lays_its_memory_out_otherwise_is_read_from_what_it_prints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def texts() -> list[list[str]]:
        reader = Pages()
        found = []
        with TIDES.open("rb") as file, mupdf.opened(file.fileno(), []) as document:
            for number in range(document.page_count):
                with reader.text(mupdf.raw(document), number) as (_, _, blocks, _):
                    found += [block.texts for block in blocks]
        return found

    from_memory = texts()
    monkeypatch.setattr(stext, "_CHAR", stext.Struct("@6xH8xf36xf"))  # Its size is four bytes farther on.
    assert texts() == from_memory


def test_a_character_that_is_a_line_break_does_not_shift_the_lines_after_it() -> None:
    reader = stext.StructuredText(mupdf.mupdf)
    with TIDES.open("rb") as file, mupdf.opened(file.fileno(), []) as document:
        page = document[0].get_textpage(flags=pymupdf.TEXT_CLIP)
        structured = page.this.m_internal
        text = _printed(structured, mupdf.mupdf.ll_fz_print_stext_page_as_text).decode()
        assert reader.read(structured, text) is not None
        for place in (1, len(text) // 2, len(text) - 3):
            assert reader.read(structured, f"{text[:place]}\n{text[place:]}") is None
