"""Another format needs one module: the sandbox, its limits and what comes after parsing know nothing of it."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from prefect_ollama.blocks.errors import DocumentError
from prefect_ollama.tasks import parse, parsing
from prefect_ollama.tasks.chunking import CHUNKER_VERSION, ChunkOptions
from prefect_ollama.tasks.parsing import (
    Block,
    Box,
    DocumentParser,
    DroppedLine,
    Metadata,
    Page,
    ParsedDocument,
    ParseOptions,
    Parser,
    Parsers,
    Problem,
    format_of,
)
from prefect_ollama.tasks.parsing.pdf import PDF
from prefect_ollama.tasks.parsing.sandbox import Budget, Talk, protocol
from prefect_ollama.tasks.parsing.sandbox.limits import Limits
from prefect_ollama.tasks.planning import Bundle, ChunkingPlan, SourceFile
from prefect_ollama.tasks.prefect_state import Opaque
from tests.text_format import TextFormat

TEXT = TextFormat()
QUICK = ParseOptions(wall_seconds=60, cpu_seconds=1, memory_mb=256)


@pytest.fixture
def parser() -> Iterator[DocumentParser]:
    with Parser(TEXT) as parser:
        yield parser


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "notes.txt"


def blocks_of(document: parsing.ParsedDocument) -> list[tuple[int, str]]:
    return [(page.number, block.text) for page in document.pages for block in page.blocks]


def test_a_file_of_another_format_is_read_in_the_sandbox(parser: DocumentParser, written: Path) -> None:
    written.write_text("One.\n\nTwo.\fThree.", encoding="utf-8")
    document = parser.parse(written)
    assert blocks_of(document) == [(1, "One."), (1, "Two."), (2, "Three.")]
    assert (document.page_count, document.metadata.title, document.dropped) == (2, "Set up", {"blank": 2})
    assert document.cpu_seconds >= 0
    shouted = parser.parse(written, ParseOptions(running_heads="keep"))
    assert blocks_of(shouted)[0] == (1, "ONE.")
    assert parser.version == 7


def test_the_progress_of_one_file_is_not_that_of_the_next(parser: DocumentParser, written: Path) -> None:
    written.write_text("One.\fTwo.\fThree.", encoding="utf-8")
    assert len(parser.parse(written, QUICK).pages) == 3
    written.write_text("!die\fTwo.", encoding="utf-8")
    with pytest.raises(DocumentError, match="after 0 of 2 pages"):
        parser.parse(written, QUICK)


def test_the_parent_is_woken_up_only_for_what_it_cannot_do_without() -> None:
    answers, pipe = os.pipe()
    os.set_blocking(answers, False)
    talk = Talk(pipe, Limits.__new__(Limits), Budget(1, 1.0, 1.0, 1), None)

    def sent() -> list[bytes]:
        try:
            return [line.split()[0] for line in os.read(answers, 4096).splitlines()]
        except BlockingIOError:
            return []

    talk.pages(3)
    talk.entry(b"opened", 0, b"{}")
    talk.read(0)
    assert sent() == []
    talk.worth_keeping()
    assert sent() == [b"opened", b"KEPT"]
    talk.entry(b"page", 1, b"{}")
    assert sent() == [b"page"]
    talk.read(1)
    assert sent() == []
    talk.all_read()
    assert sent() == [b"SEEN"]
    os.close(answers)
    os.close(pipe)


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        pytest.param("!loop", "cpu-time", marks=pytest.mark.slow),
        pytest.param("!sleep", "wall-time", marks=pytest.mark.slow),
        ("!memory", "memory"),
        ("!die", "crashed"),
        ("!refuse", "damaged"),
    ],
)
@pytest.mark.sampled(1)
def test_limits_hold_for_it_and_what_was_read_is_kept_if_asked(
    parser: DocumentParser, written: Path, page: str, kind: str
) -> None:
    written.write_text(f"One.\f{page} now\fThree.", encoding="utf-8")
    written.with_name("sound.txt").write_text("Sound.", encoding="utf-8")
    options = QUICK
    if page == "!sleep":
        # The process is there before its time counts, so that a busy machine reads the first page in it.
        parser.parse(written.with_name("sound.txt"), QUICK)
        options = replace(QUICK, wall_seconds=5)
    with pytest.raises(DocumentError) as caught:
        parser.parse(written, options)
    assert caught.value.kind == kind
    if page in ("!loop", "!sleep", "!die"):
        assert "after 1 of 3 pages" in caught.value.cause
        document = parser.parse(written, replace(options, allow_partial=True))
        assert blocks_of(document) == [(1, "One.")]
        assert [(problem.page, problem.kind) for problem in document.problems] == [(2, kind), (3, kind)]
    written.write_text("Sound.", encoding="utf-8")
    assert blocks_of(parser.parse(written, QUICK)) == [(1, "Sound.")]


@pytest.mark.parametrize(
    "said",
    [
        'MADE 0 {"number": 1, "width": 1, "height": 1, "blocks": [["paragraph", 5, [0, 0, 1, 1]]]}',
        'FAILED 0 {"kind": "of its own", "message": "it says so"}',
        'DONE 0 {"grown_mb": "much", "cpu_seconds": 0}',
    ],
)
@pytest.mark.sampled(1)
def test_what_a_child_that_was_taken_over_says_is_refused(
    said: str, parser: DocumentParser, written: Path
) -> None:
    written.write_text(f"!say {said}", encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        parser.parse(written, QUICK)
    assert caught.value.kind == "crashed"
    assert "the parser process sent an invalid message" in caught.value.cause
    written.write_text("Sound.", encoding="utf-8")
    assert blocks_of(parser.parse(written, QUICK)) == [(1, "Sound.")]


@pytest.mark.parametrize(
    "body",
    [
        '{"number": 1, "width": 1, "height": 1, "blocks": [["paragraph", 5, [0, 0, 1, 1]]]}',
        '{"number": 1, "width": 1, "height": 1, "blocks": [["secret", "x", [0, 0, 1, 1]]]}',
        '{"number": 1, "width": 1, "height": 1, "blocks": [["paragraph", "x", [0, 0, 1]]]}',
        '{"number": 1, "width": 1, "height": 1, "blocks": [["paragraph", "x", [0, 0, 1, 1], 0, false, ["x"]]]}',
        '{"number": 1, "width": "wide", "height": 1, "blocks": []}',
        '{"number": true, "width": 1, "height": 1, "blocks": []}',
        '{"width": 1, "height": 1, "blocks": []}',
        "[1, 1, false]",
        "{}",
        "no json",
    ],
)
def test_a_page_has_values_of_its_types_alone(body: str) -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.decoded_page(body.encode())


def test_a_document_has_values_of_its_types_alone() -> None:
    document = ParsedDocument(
        (Page(1, 1, 1, (Block("paragraph", "x", Box(0, 0, 1, 1), ends=(1,)),)), Page(3, 1, 1, (), ocr=True)),
        3,
        Metadata("Title", created=datetime(2026, 1, 1, tzinfo=UTC)),
        (Problem(2, "damaged", "a reason"),),
        {"header": 3},
        (DroppedLine("header", "x", 3),),
        (3,),
        cpu_seconds=2,
        ocr_seconds=1,
    )
    lines = b"".join(protocol.encoded_pages(document.pages)).splitlines()
    pages = [protocol.decoded_page(each.body) for each in map(protocol.read_line, lines)]
    rest = orjson.loads(protocol.encoded(protocol.encoded_rest(document))) | {"cpu_seconds": 2}
    assert protocol.decoded_document(pages, orjson.dumps(rest)) == document
    for wrong in (
        {"page_count": "3"},
        {"page_count": 2},
        {"problems": [{"page": "x"}]},
        {"dropped": {"header": "3"}},
        {"metadata": {"created": "long ago"}},
        {"dropped_lines": [["header", "x"]]},
    ):
        with pytest.raises(protocol.ProtocolError):
            protocol.decoded_document(pages, orjson.dumps(rest | wrong))
    with pytest.raises(protocol.ProtocolError):
        protocol.decoded_document([*pages, pages[0]], orjson.dumps(rest))


def test_extra_work_has_time_of_its_own_and_costs_nothing_of_the_rest(
    parser: DocumentParser, written: Path
) -> None:
    written.write_text("One.\f!extra", encoding="utf-8")
    document = parser.parse(written, replace(QUICK, wall_seconds=60, ocr_seconds=1))
    assert blocks_of(document) == [(1, "One.")]
    (problem,) = document.problems
    assert (problem.page, problem.kind, problem.remedy) == (2, "slow", "Raise `ocr_seconds`.")


def test_a_files_name_decides_about_its_format(tmp_path: Path) -> None:
    formats = (PDF, TEXT)
    assert format_of("a/NOTES.TXT", formats) is TEXT
    assert format_of("a.pdf", formats) is format_of("nameless", formats) is PDF
    parsers = Parsers(formats)
    try:
        assert parsers.parser_of("a.txt") is parsers.parser_of("b.text")
        assert (parsers.parser_of("a.txt").version, parsers.parser_of("a.pdf").version) == (7, PDF.version)
    finally:
        parsers.close()


def test_its_documents_are_chunked_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("The tide was high.\n\nThe harbour was full.", encoding="utf-8")
    status = (tmp_path / "notes.txt").stat()
    file = SourceFile(str(tmp_path / "notes.txt"), "notes.txt", status.st_size, status.st_mtime_ns)
    parsers = Parsers((PDF, TEXT))
    monkeypatch.setattr(parse, "_parsers", lambda: parsers)
    monkeypatch.setattr(parse, "_report_unconfined", lambda _: None)
    plan = ChunkingPlan(ParseOptions(), ChunkOptions())
    bundle = Bundle(1, str(tmp_path), (file,))
    try:
        done = parse.parse_bundle.fn(Opaque(bundle), Opaque(plan)).content
    finally:
        parsers.close()
    (each,) = done.documents
    assert (each.document.title, each.document.pages) == ("Set up", 1)
    assert (each.document.parser_version, each.document.chunker_version) == (7, CHUNKER_VERSION)
    assert "The harbour was full." in each.chunks[0].text


def test_the_sandbox_knows_no_format() -> None:
    """Neither imports nor words of a format; of the document's neutral values it may say which pages OCR read."""
    folder = Path(parsing.__file__).parent / "sandbox"
    files = sorted(folder.glob("*.py"))
    assert len(files) >= 8
    for file in files:
        source = file.read_text(encoding="utf-8")
        imported = {
            node.module or "" for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
        }
        assert not [name for name in imported if "parsing.pdf" in name or "formats" in name], file.name
        lowered = source.lower()
        assert not [word for word in ("pdf", "tesseract", "tessdata", "password") if word in lowered], (
            file.name
        )
