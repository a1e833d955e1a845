"""`prefect-ollama search`: ask a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.console import INCOMPLETE, OK, STARTING, guarded, show, tell_note
from prefect_ollama.options import (
    NODES,
    NORMAL,
    TABLE,
    JsonOption,
    Loudness,
    NodeOptions,
    TableOptions,
    lines_of,
)
from prefect_ollama.reading_options import PASSWORDS, PasswordOptions, ReadingOptions

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import CheckedAnswer, Found, Hit, Quote
    from prefect_ollama.flows.parameters import Only as FlowOnly
    from prefect_ollama.tasks.searching import Filter

# The first line, before slow imports.
SEARCHING = "Searching…"

# The same as `blocks.lance.Mode`, which takes a second to import.
Mode = Literal["vector", "text", "hybrid"]

ModeOption = Annotated[Mode, Parameter(help="How passages are searched: by meaning, by words, or both.")]

QUESTION = Parameter(
    help="What you want to know. Without quotes its words are joined; the shell keeps `?` and `*`."
)


@Parameter(name="*", help="Which passages may be found.")
@dataclass(frozen=True, slots=True)
class Only:
    """Which passages may be found."""

    source: Annotated[str | None, Parameter(help="Only documents of this source, as reports name it.")] = None
    document: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--document", "--folder", "-d"],
            show_default=False,
            help="Only documents of this name: a path, a file's name, a folder, or a quoted glob pattern; may be "
            "given several times.",
        ),
    ] = ()
    since: Annotated[
        date | None,
        Parameter(
            help="Only documents of this day (2024-12-31) or later, by their metadata, else by their file."
        ),
    ] = None
    until: Annotated[date | None, Parameter(help="Only documents of this day or earlier.")] = None
    pages: Annotated[str | None, Parameter(help="Only passages on this page (12) or these pages (3-9).")] = (
        None
    )
    title: Annotated[str, Parameter(show_default=False, help="Only documents whose title holds this.")] = ""
    author: Annotated[str, Parameter(show_default=False, help="Only documents whose author holds this.")] = ""


EVERYTHING = Only()


def search(
    question: Annotated[list[str] | None, QUESTION] = None,
    *,
    questions: Annotated[
        Path | None, Parameter(help="File with several questions, one a line; `--questions=-` reads stdin.")
    ] = None,
    nodes: NodeOptions = NODES,
    table: TableOptions = TABLE,
    limit: Annotated[
        int,
        Parameter(
            name=["--limit", "-l"], help="Passages to show at most.", validator=Number(gte=1, lte=1000)
        ),
    ] = 5,
    mode: Annotated[Mode, Parameter(help="By meaning, by words (needs no node), or both.")] = "hybrid",
    only: Only = EVERYTHING,
    per_document: Annotated[
        bool, Parameter(negative="", help="Show the best passage of each document only.")
    ] = False,
    neighbours: Annotated[
        int, Parameter(help="Passages to show before and after each.", validator=Number(gte=0))
    ] = 0,
    section: Annotated[bool, Parameter(negative="", help="Show the whole section of each passage.")] = False,
    explain: Annotated[
        bool, Parameter(negative="", help="Show the scores of each passage, and the text that was embedded.")
    ] = False,
    rerank: Annotated[
        str | None,
        Parameter(
            help="What reranks the passages: URLs of servers (llama-server, vLLM, TEI; http://gpu:8012/v1) or names "
            "of saved OpenAI Compatible Nodes, separated by commas; or `judge` for the judge or chat model of the "
            "nodes, `judge:MODEL` for another one. If it fails, the order of the search stays."
        ),
    ] = None,
    rerank_timeout: Annotated[
        float, Parameter(help="Seconds for the answer of --rerank.", validator=Number(gt=0, lte=3600))
    ] = 10.0,
    show_pages: Annotated[
        Path | None,
        Parameter(
            name="--show",
            help="Folder into which the page of each passage is written as PNG, the passage marked.",
        ),
    ] = None,
    passwords: PasswordOptions = PASSWORDS,
    track: Annotated[
        bool, Parameter(negative="", help="Record the search as a flow run in Prefect; that takes seconds.")
    ] = False,
    json: JsonOption = False,
    loud: Loudness = NORMAL,
) -> int:
    """Ask a table a question and get the best passages, each with file and page."""

    # Modules that take long to import are imported after the first line is shown.
    def run() -> int:
        from prefect_ollama import render_hits

        asked = _asked(question, questions)
        if neighbours and section:
            raise ConfigurationError("--neighbours and --section are both given.", remedy="Give one of them.")
        at = nodes.named()
        options: dict[str, Any] = {"mode": mode, "limit": limit}
        if track:
            # The flow `search` has no such parameters.
            if questions is not None or neighbours or section:
                raise ConfigurationError(
                    "--track records one question, and without --neighbours and --section.",
                    state="Nothing was searched.",
                    remedy="Leave out the one or the other.",
                )
            from prefect_ollama.flows import search as flow

            found: Found = flow(
                asked[0],
                at,
                table.named(),
                nodes.model,
                source=only.source,
                only=flow_filter(only),
                one_per_document=per_document,
                show=show_pages is not None,
                reranker=rerank,
                rerank_timeout=rerank_timeout,
                **options,
            )
            answers = [found]
        else:
            from prefect_ollama.tasks.searching import Corpus, reranker_of

            ranker = reranker_of(rerank, timeout=rerank_timeout)
            with Corpus(table.place(), at, model=nodes.model, reranker=ranker) as corpus:
                answers = corpus.search_all(
                    asked,
                    only=filter_of(only),
                    one_per_document=per_document,
                    around="section" if section else neighbours,
                    **options,
                )
        # One question fails the command; of several, each has its own error in the output.
        if questions is None and answers[0].error is not None:
            raise answers[0].error
        plain = [_plain(each) for each in answers]
        pictures: list[list[list[str]]] = [[[] for _ in each] for each in answers]
        if show_pages is not None:
            reading = ReadingOptions(passwords=passwords).options()
            pictures = [
                write_pictures(show_pages, each, number if len(answers) > 1 else 0, reading)
                for number, each in enumerate(answers, 1)
            ]
            for each, files in zip(plain, pictures, strict=True):
                for hit, names in zip(each["hits"], files, strict=True):
                    hit["pictures"] = names
        shown = render_hits.answers(answers, explain=explain, pictures=pictures)
        show((plain if questions is not None else plain[0]["hits"]) if json else shown, json=json)
        return OK if all(answers) else INCOMPLETE

    return guarded(run, json=json, loud=loud, first=STARTING if track else SEARCHING, prefect=track)


def _asked(question: Sequence[str] | None, questions: Path | None) -> list[str]:
    if bool(question) == (questions is not None):
        raise ConfigurationError(
            "No question is given." if not question else "A question and --questions are both given.",
            state="Nothing was searched.",
            remedy="Give a question, or a file with several to --questions.",
        )
    if questions is None:
        return [" ".join(question or ())]
    asked = [line.strip() for line in lines_of(questions, "question") if line.strip()]
    if not asked:
        raise ConfigurationError(
            f"{str(questions)!r} holds no question.",
            state="Nothing was searched.",
            remedy="Write one a line.",
        )
    return asked


def filter_of(only: Only) -> Filter:
    """Return the filter of a search that options name.

    Raises:
        ConfigurationError: `--pages` names no pages.
    """
    from prefect_ollama.tasks.searching import Filter

    return Filter(
        source=only.source,
        documents=only.document,
        since=only.since,
        until=only.until,
        pages=_pages(only.pages),
        title=only.title,
        author=only.author,
    )


def _pages(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, dash, last = text.partition("-")
    try:
        return int(first), int(last if dash else first)
    except ValueError:
        raise ConfigurationError(
            f"--pages {text!r} names no pages.",
            state="Nothing was searched.",
            remedy="Write a number, such as 12, or the first and the last, such as 3-9.",
        ) from None


def flow_filter(only: Only) -> FlowOnly:
    """Return the filter of a flow that options name; the source is a parameter of its own.

    Raises:
        ConfigurationError: `--pages` names no pages.
    """
    from prefect_ollama.flows.parameters import Only as FlowOnly

    pages = _pages(only.pages) or (None, None)
    return FlowOnly(
        documents=list(only.document),
        since=only.since,
        until=only.until,
        first_page=pages[0],
        last_page=pages[1],
        title=only.title,
        author=only.author,
    )


def write_pictures(folder: Path, found: Sequence[Hit], question: int, options: Any) -> list[list[str]]:
    """Write the pages of hits into a folder, and return the files of each hit. Failed pages are named on stderr."""
    from prefect_ollama.tasks.searching import page_pictures

    files: list[list[str]] = [[] for _ in found]
    with writable(folder) as place:
        for picture in page_pictures(found, options):
            if picture.note:
                tell_note(f"No picture of {found[picture.hit].path!r}, page {picture.page}: {picture.note}")
                continue
            name = picture_name(found[picture.hit].path, picture.hit + 1, picture.page, question)
            (place / name).write_bytes(picture.png)
            files[picture.hit].append(str(place / name))
    return files


def write_quotes(folder: Path, answer: CheckedAnswer, options: Any) -> dict[Quote, list[str]]:
    """Write the pages of an answer's quotes into a folder, the words marked; return the files of each quote.

    What cannot be drawn or marked is told on stderr.
    """
    from prefect_ollama.tasks.searching import QuoteDrawer

    files: dict[Quote, list[str]] = {}
    with writable(folder) as place, QuoteDrawer(options) as drawer:
        for number, quote in enumerate(answer.quotes(), 1):
            files[quote] = []
            for marked in drawer.pages(quote, answer.passages[quote.passage - 1]):
                if marked.note:
                    tell_note(f"Quote [{number}], {quote.path!r}, page {marked.page}: {marked.note}")
                if marked.png:
                    name = picture_name(quote.path, number, marked.page)
                    (place / name).write_bytes(marked.png)
                    files[quote].append(str(place / name))
    return files


@contextmanager
def writable(folder: Path) -> Iterator[Path]:
    """Yield a folder for pictures, made if it does not exist.

    Raises:
        ConfigurationError: It cannot be made or written to.
    """
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise ConfigurationError(
            f"{str(folder)!r} cannot be written to: {error.strerror}.",
            state="The search was done.",
            remedy="Name a folder that you may write to.",
        ) from None


def picture_name(path: str, rank: int, page: int, question: int = 0) -> str:
    """Return the name of a picture's file: rank, the document's own name in plain characters, page."""
    # A document's name may hold any character; the name of a file on this machine may not.
    stem = re.sub(r"[^\w.-]+", "-", Path(path).stem).strip("-.")[:60] or "document"
    return f"{f'{question}-' if question else ''}{rank:02}-{stem}-page-{page}.png"


def _plain(answer: Found) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "question": answer.question,
        "hits": [asdict(hit) for hit in answer],
        "notes": list(answer.notes),
        "error": str(answer.error) if answer.error is not None else "",
    }
