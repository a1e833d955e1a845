"""The lines of an answer or a report, which Prefect shows as Markdown and the terminal through Rich.

Guarantees: both show the same sentences, quotes, notes and reasons. No text is escaped or coloured yet.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from prefect_ollama.blocks.documents import CheckedAnswer, CheckedReport, CheckedSentence, Quote, ReportStep
from prefect_ollama.blocks.quantity import quantity

NOT_IN_DOCUMENTS: Final = "Not in the documents."
# Of a report that a limit ended: the documents may hold more than was read.
NOT_DONE: Final = "Nothing was found before the limit."


class Marks(str):
    """Numbers of quotes in brackets. They are ours, so that Markdown shows them without an escape."""


class Line(NamedTuple):
    """A line.

    Attributes:
        kind: What it is; "none" stands in place of sentences.
        parts: Its parts, with a space between them; all but `Marks` are text from outside.
        quote: The quote whose place the line names.
        words: The words of that quote; empty if they stand above as a sentence.
        only: Where alone it is shown; empty for everywhere.
    """

    kind: Literal["title", "heading", "part", "none", "text", "quote", "item", "note"]
    parts: tuple[str, ...]
    quote: Quote | None = None
    words: str = ""
    only: Literal["", "page", "terminal"] = ""


class Rows(NamedTuple):
    """A table. A narrow terminal leaves the columns `drop` out, in this order."""

    columns: tuple[str, ...]
    cells: Sequence[tuple[str, ...]]
    numbers: tuple[str, ...]
    drop: tuple[str, ...]


# Markdown has space around each line.
GAP: Final = Line("text", (), only="terminal")


def answer_lines(answer: CheckedAnswer, nothing: str = NOT_IN_DOCUMENTS) -> Iterator[Line]:
    """Yield the sentences of an answer, or `nothing`, then the quotes that they name, then what was left out."""
    yield Line("title", (answer.question,), only="page")
    if not answer:
        yield Line("none", (nothing,))
    quotes = list(answer.quotes())
    for each in answer.sentences:
        marks = Marks("".join(f"[{quotes.index(quote) + 1}]" for quote in each.quotes))
        note = "" if each.supported else f"(not supported: {each.reason})"
        yield Line("text", tuple(filter(None, (each.text, marks, note))))
    yield GAP
    said = {each.text for each in answer.sentences}
    for number, quote in enumerate(quotes, 1):
        # Without a chat model a sentence is its own quote, and would stand there twice.
        words = "" if (whole := _words(quote)) in said else whole
        yield Line("quote", (Marks(f"[{number}]"), f"{quote.path}, {quote.pages}"), quote, words)
    yield from (Line("note", (note,)) for note in answer.notes)
    if answer.dropped:
        yield Line("heading", ("Left out, because the documents do not support it:",))
        yield from map(_dropped, answer.dropped)


def report_lines(report: CheckedReport) -> Iterator[Line | Rows]:
    """Yield the text of a report with its quotes, what each part found and dropped, and the steps."""
    yield from answer_lines(report.answer, NOT_DONE if report.ended_by else NOT_IN_DOCUMENTS)
    if report.parts:
        yield Line("heading", ("Parts",), only="page")
    for part in report.parts:
        yield GAP
        yield Line("part", (part.title,))
        count = f"{quantity(len(part.findings), 'finding')}, {len(part.dropped)} dropped"
        yield Line("text", (count,), only="terminal")
        yield from map(_finding, part.findings)
        if part.note:
            yield Line("note", (part.note,))
        if part.dropped:
            yield Line("text", ("Dropped:",), only="page")
            yield from map(_dropped, part.dropped)
    if report.steps:
        yield Line("heading", ("Steps",), only="page")
        yield GAP
        yield _steps(report.steps)


def _dropped(sentence: CheckedSentence) -> Line:
    return Line("item", (sentence.text, f"({sentence.reason})"))


def _finding(finding: CheckedSentence) -> Line:
    places = (f"({each.path}, page {each.page_from}: “{_words(each)}”)" for each in finding.quotes)
    return Line("item", (finding.text, *places), only="page")


def _words(quote: Quote) -> str:
    # A quote keeps the line ends of its page, which mean nothing here.
    return " ".join(quote.text.split())


def _steps(steps: Sequence[ReportStep]) -> Rows:
    numbers = ("seconds", "tokens read", "tokens written")
    cells = []
    for each in steps:
        # A step from the cache took no time in this run, and its own note is of an earlier run.
        note = "From the cache." if each.cached else each.note
        tokens = (f"{each.prompt_tokens:,}", f"{each.answer_tokens:,}")
        by = (", ".join(each.nodes), ", ".join(each.models))
        cells.append((each.name, *by, f"{each.seconds:.1f}", *tokens, note))
    return Rows(("step", "node", "model", *numbers, "note"), cells, numbers, ("tokens read", "note", "model"))
