"""Parse and chunk a bundle of documents, in a Dask worker process made for it.

Every file of the bundle ends as a document with chunks, or as a refusal with kind, reason and remedy. A refusal does
not end the bundle.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from prefect import task
from prefect.runtime import task_run

from prefect_ollama.blocks.documents import FAILED, PARTIAL, STORED, Chunk, Document
from prefect_ollama.blocks.errors import DocumentError
from prefect_ollama.blocks.printable import printable
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.chunking import CHUNKER_VERSION, chunk_document
from prefect_ollama.tasks.parsing import (
    REMEDIES,
    DocumentParser,
    DroppedLine,
    ParsedDocument,
    Parsers,
    split_between,
)
from prefect_ollama.tasks.planning import (
    Bundle,
    ChunkingPlan,
    LinkOnTheWay,
    NotRegular,
    SourceFile,
    document_id,
    hash_descriptor,
)
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, run_logger, runs_on
from prefect_ollama.tasks.reporting import RunStatistics


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The parts of a file that are not in its chunks, though the file was read.

    Attributes:
        lines: Lines that parsing left out on purpose, with how often each was.
        notes: What else was not read, such as attached files, each in a sentence or two.
    """

    lines: tuple[DroppedLine, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """A document with its chunks, none of them embedded yet; a failed one has none.

    Attributes:
        document: Its manifest row.
        chunks: Its chunks.
        statistics: Counters of parsing.
        left_out: The parts of it that are not in the chunks.
    """

    document: Document
    chunks: tuple[Chunk, ...] = ()
    statistics: RunStatistics = field(default_factory=RunStatistics)
    left_out: LeftOut = LeftOut()


@dataclass(frozen=True, slots=True)
class ChunkedBundle:
    """A bundle after parsing.

    Attributes:
        bundle: The bundle that was parsed.
        documents: One for each of its files, in their order.
    """

    bundle: Bundle
    documents: tuple[ChunkedDocument, ...]

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return sum(len(each.chunks) for each in self.documents)


def _name() -> str:
    bundle: Bundle = task_run.parameters["bundle"].content
    count = len(bundle.files)
    what = bundle.files[0].path if count == 1 else quantity(count, "file")
    return f"parse {printable(what, longest=150)} · bundle {bundle.number}"


# No retries, even if the user's settings ask for them: the same bytes give the same result, and the pipeline divides
# bundles whose worker died, and starts them again.
@task(name="parse", task_run_name=_name, retries=0, **UNCACHED)
@runs_on("parse")
def parse_bundle(bundle: Opaque[Bundle], chunking_plan: Opaque[ChunkingPlan]) -> Opaque[ChunkedBundle]:
    """Parse and chunk the files of a bundle."""
    how, files = chunking_plan.content, bundle.content
    count = how.counter
    documents = tuple(_chunk_file(files.source, file, how, count) for file in files.files)
    return Opaque(ChunkedBundle(files, documents))


# Kind and reason by error. Each cause has a kind of its own, because the remedies differ.
_NOT_OPENED: Final[dict[type[OSError], tuple[str, str]]] = {
    LinkOnTheWay: (
        "outside",
        "a link was put in its place after the source was searched; it was not followed.",
    ),
    NotRegular: ("not-a-file", "it is no regular file."),
    FileNotFoundError: ("missing", "there is no such file any more."),
}


def _chunk_file(
    source: str, file: SourceFile, chunking_plan: ChunkingPlan, count: Callable[[str], int]
) -> ChunkedDocument:
    parser = _parsers().parser_of(file.location)
    row = Document(
        document_id(source, file.path),
        source,
        file.path,
        size=file.size,
        mtime_ns=file.mtime_ns,
        parser_version=parser.version,
        chunker_version=CHUNKER_VERSION,
    )
    path = Path(file.location)
    try:
        # Hash and parser read one descriptor, so that the hash is that of the parsed content.
        with file.opened() as descriptor:
            parsed = parser.parse(path, chunking_plan.parse, descriptor=descriptor)
            _report_unconfined(parser)
            row = replace(row, content_hash=hash_descriptor(descriptor))
    except DocumentError as error:
        reason = error.cause if not error.state else f"{error.cause} {error.state}"
        row = replace(row, status=FAILED, kind=error.kind, reason=reason, remedy=error.remedy)
        return ChunkedDocument(row)
    except OSError as error:
        unreadable = "unreadable", f"it cannot be read ({error.strerror or error})."
        kind, reason = _NOT_OPENED.get(type(error), unreadable)
        row = replace(row, status=FAILED, kind=kind, reason=reason, remedy=REMEDIES[kind])
        return ChunkedDocument(row)
    chunks = tuple(chunk_document(parsed, chunking_plan.chunk, count, name=file.path))
    return ChunkedDocument(
        _described(row, parsed, chunks),
        chunks,
        RunStatistics(
            dropped=parsed.dropped, ocr_pages=len(parsed.ocr_pages), ocr_seconds=parsed.ocr_seconds
        ),
        LeftOut(
            parsed.dropped_lines,
            tuple(f"{each.reason} {each.remedy}".strip() for each in parsed.problems if not each.unread),
        ),
    )


def _described(row: Document, parsed: ParsedDocument, chunks: tuple[Chunk, ...]) -> Document:
    meta = parsed.metadata
    row = replace(
        row,
        status=STORED,
        pages=parsed.page_count,
        title=meta.title,
        author=meta.author,
        created=meta.created,
        modified=meta.modified,
    )
    unread = [problem for problem in parsed.problems if problem.unread]
    if unread:
        # Scans can have hundreds of pages with one reason.
        pages_of: dict[str, list[int]] = {}
        for problem in unread:
            pages_of.setdefault(problem.reason, []).extend([] if problem.page is None else [problem.page])
        reasons = " ".join(
            f"page{'s' * (len(pages) > 1)} {_ranges(pages)}: {reason}" if pages else reason
            for reason, pages in pages_of.items()
        )
        remedies = " ".join(dict.fromkeys(problem.remedy for problem in unread if problem.remedy))
        # A file without any chunk is not in the table, so it is not partial.
        status = PARTIAL if chunks else FAILED
        row = replace(row, status=status, kind=unread[0].kind, reason=reasons, remedy=remedies)
    elif not chunks:
        row = replace(
            row,
            status=FAILED,
            kind="no-text",
            reason=_no_text(parsed),
            remedy="If its pages are pictures of text, use *OCR* (`--ocr`).",
        )
    return row


def _no_text(parsed: ParsedDocument) -> str:
    # A font without a character map yields such characters; an empty page yields none.
    unknown = parsed.dropped.get("unknown", 0) + parsed.dropped.get("invisible", 0)
    if unknown:
        none = "show nothing or have no meaning", "shows nothing or has no meaning"
        return f"it holds no text but {quantity(unknown, f'character that {none[1]}', f'characters that {none[0]}')}."
    return "it holds no text."


def _ranges(pages: list[int]) -> str:
    """Page numbers as "1-3, 7"."""
    parts = split_between(pages, lambda before, page: page != before + 1)
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


_thread = threading.local()


def _parsers() -> Parsers:
    """Return this thread's parsers. Their child processes stay for the next bundle, and end with this process."""
    # By thread, because a parser reads one file at a time; a worker that parses has one thread.
    if not hasattr(_thread, "parsers"):
        _thread.parsers = Parsers()
    parsers: Parsers = _thread.parsers
    return parsers


def _report_unconfined(parser: DocumentParser) -> None:
    """Log, once in each process, which confinement of the parser the kernel lacks."""
    if parser.unconfined and not getattr(_thread, "reported", False):
        _thread.reported = True
        run_logger().warning(
            "The parser works without %s on this host: a hostile file that takes it over could read what this user may "
            "read. See docs/security.md.",
            " and ".join(parser.unconfined),
        )
