"""`prefect-ollama ask`: answer a question from a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_ollama.blocks.printable import printable
from prefect_ollama.console import INCOMPLETE, OK, guarded, show
from prefect_ollama.node_options import CHAT, ChatOptions
from prefect_ollama.options import PRINT, TABLE, PrintOptions, TableOptions, flag, option_of
from prefect_ollama.question_options import EVERYTHING, QUESTION, ModeOption, Only
from prefect_ollama.reading_options import PASSWORDS, PasswordOptions
from prefect_ollama.tasks.answering import AskOptions

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import CheckedAnswer, Quote
    from prefect_ollama.tasks.answering import AskEvent

DEFAULT = AskOptions()


@guarded(first="Searching…", prefect=False)
def ask(
    question: Annotated[list[str], QUESTION],
    *,
    nodes: ChatOptions = CHAT,
    table: TableOptions = TABLE,
    passages: Annotated[int, option_of(AskOptions, "passages")] = DEFAULT.passages,
    drafts: Annotated[int, option_of(AskOptions, "drafts")] = DEFAULT.drafts,
    mark_unsupported: Annotated[bool, option_of(AskOptions, "mark_unsupported", negative="")] = False,
    mode: ModeOption = "hybrid",
    only: Only = EVERYTHING,
    show_pages: Annotated[
        Path | None,
        Parameter(
            name="--show",
            help="Folder into which the page of each quote is written as PNG, the words of the quote marked.",
        ),
    ] = None,
    passwords: PasswordOptions = PASSWORDS,
    track: Annotated[bool, flag("Record the question as a flow run in Prefect; that takes seconds.")] = False,
    out: PrintOptions = PRINT,
) -> int:
    """Answer a question from a table; each sentence has quotes with file and page."""
    from prefect_ollama import render_answer
    from prefect_ollama.pictures import Pictures
    from prefect_ollama.tasks.reporting import answer_lines

    words, at = " ".join(question), nodes.named()
    # Before the nodes are asked, because an answer takes long.
    drawn = None if show_pages is None else Pictures(show_pages, passwords)
    wanted = only.options()
    found: CheckedAnswer
    if track:
        from prefect_ollama.flows import ask as flow

        found = flow(
            words,
            at,
            table.named(),
            **nodes.models(),
            passages=passages,
            drafts=drafts,
            mark_unsupported=mark_unsupported,
            mode=mode,
            source=only.source,
            only=only.form(),
            show=show_pages is not None,
        )
    else:
        from prefect_ollama.tasks.searching import Corpus

        with Corpus(table.place(), at, **nodes.models()) as corpus:
            found = corpus.ask(
                words,
                mode=mode,
                only=wanted,
                options=AskOptions(passages, drafts, mark_unsupported=mark_unsupported),
                listen=None if out.quiet else _tell,
            )
    pictures: dict[Quote, list[str]] = {} if drawn is None else drawn.of_quotes(found)
    plain = render_answer.plain(found, pictures)
    show(plain, render_answer.lines(answer_lines(found), pictures), out)
    # The status is 1 without an answer, so that scripts notice it.
    return OK if found else INCOMPLETE


def _tell(event: AskEvent) -> None:
    # Stdout holds the result alone, so that it can go into a file or a pipe.
    print(printable(event.line), file=sys.stderr, flush=True)
