"""Pages whose content cannot be decoded, or only in part, are named."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_ollama.tasks.parsing import ParsedDocument, ParseOptions, Parser
from tests.hostile import pdf, stream, text_page

LINES = b"BT /F 11 Tf 50 760 Td 14 TL %b ET" % b" ".join(
    b"(Line %d of the page speaks of ship %d.) Tj T*" % (i, i * 37 % 101) for i in range(40)
)
PACKED = zlib.compress(LINES)
FLATE = b"/Filter/FlateDecode"


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


def read(parser: Parser, tmp_path: Path, content: bytes, resources: bytes = b"") -> ParsedDocument:
    """Read a file whose second page is sound."""
    first = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<<%b>>>>"
    path = tmp_path / "undecoded.pdf"
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[3 0 R 6 0 R]/Count 2>>",
        3: first % (b"/Font<</F 5 0 R>>" + resources),
        4: content,
        5: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        **text_page(6, b"The second page."),
        8: stream(b"garbage", b"/Type/XObject/Subtype/Image/Width 900/Height 1200/BitsPerComponent 1"
                  b"/ColorSpace/DeviceGray/Filter/JPXDecode"),
    }  # fmt: skip
    path.write_bytes(pdf(objects))
    document = parser.parse(path, ParseOptions(ocr="off"))
    assert "The second page." in str(document.pages[1].blocks)
    return document


def test_a_sound_page_has_no_problem(parser: Parser, tmp_path: Path) -> None:
    assert read(parser, tmp_path, stream(PACKED, FLATE)).problems == ()


@pytest.mark.parametrize(
    ("content", "unread"),
    [
        pytest.param(stream(PACKED[: len(PACKED) // 2], FLATE), False, id="cut off"),
        pytest.param(stream(PACKED[:120] + bytes(40) + PACKED[160:], FLATE), False, id="overwritten"),
        pytest.param(stream(PACKED, b"/Filter/FooDecode"), True, id="unknown filter"),
        pytest.param(stream(b"q 612 0 0 792 0 0 cm /I Do Q"), True, id="broken picture"),
    ],
)
def test_a_page_that_cannot_be_decoded_is_named(
    parser: Parser, tmp_path: Path, content: bytes, unread: bool
) -> None:
    (problem,) = read(parser, tmp_path, content, b"/XObject<</I 8 0 R>>").problems
    assert (problem.page, problem.kind, problem.unread) == (None, "undecoded", unread)
    assert problem.reason.startswith("Content on page 1 cannot be decoded (")
