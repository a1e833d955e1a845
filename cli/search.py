"""`prefect-ollama search`: ask a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.console import INCOMPLETE, OK, guarded, show
from prefect_ollama.node_options import NODES, NodeOptions
from prefect_ollama.options import PRINT, TABLE, PrintOptions, TableOptions, bounded, flag, lines_of
from prefect_ollama.question_options import EVERYTHING, QUESTION, Mode, Only
from prefect_ollama.reading_options import PASSWORDS, PasswordOptions

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import Found


@guarded(first="Searching…", prefect=False)
def search(
    question: Annotated[list[str] | None, QUESTION] = None,
    *,
    questions: Annotated[
        Path | None, Parameter(help="File with several questions, one a line; `--questions=-` reads stdin.")
    ] = None,
    nodes: NodeOptions = NODES,
    table: TableOptions = TABLE,
    limit: Annotated[
        int, bounded("Maximum number of passages to show.", gte=1, lte=1000, name=["--limit", "-l"])
    ] = 5,
    mode: Annotated[Mode, Parameter(help="By meaning, by words (needs no node), or both.")] = "hybrid",
    only: Only = EVERYTHING,
    per_document: Annotated[bool, flag("Show the best passage of each document only.")] = False,
    neighbours: Annotated[int, bounded("Passages to show before and after each.", gte=0)] = 0,
    section: Annotated[bool, flag("Show the whole section of each passage.")] = False,
    explain: Annotated[
        bool, flag("Show the scores of each passage, and the text that was embedded.")
    ] = False,
    rerank: Annotated[
        str | None,
        Parameter(
            help="What reranks the passages: URLs of servers (llama-server, vLLM, TEI; http://gpu:8012/v1) or names "
            "of saved OpenAI Compatible Nodes, separated by commas; or 'judge' for the judge or chat model of the "
            "nodes, `judge:MODEL` for another one. If it fails, the order of the search stays."
        ),
    ] = None,
    rerank_timeout: Annotated[float, bounded("Seconds for the answer of --rerank.", gt=0, lte=3600)] = 10.0,
    show_pages: Annotated[
        Path | None,
        Parameter(
            name="--show",
            help="Folder into which the page of each passage is written as PNG, the passage marked.",
        ),
    ] = None,
    passwords: PasswordOptions = PASSWORDS,
    track: Annotated[bool, flag("Record the search as a flow run in Prefect; that takes seconds.")] = False,
    out: PrintOptions = PRINT,
) -> int:
    """Ask a table a question and get the best passages, each with file and page."""

    from prefect_ollama import render_hits
    from prefect_ollama.pictures import Pictures

    asked = _questions_of(question, questions)
    if neighbours and section:
        raise ConfigurationError("--neighbours and --section are both given.", remedy="Give one of them.")
    at, wanted = nodes.named(), only.options()
    drawn = None if show_pages is None else Pictures(show_pages, passwords)
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
            only=only.form(),
            one_per_document=per_document,
            show=show_pages is not None,
            reranker=rerank,
            rerank_timeout=rerank_timeout,
            **options,
        )
        answers = [found]
    else:
        from prefect_ollama.tasks.searching import Corpus

        with Corpus(
            table.place(), at, model=nodes.model, reranker=rerank, rerank_timeout=rerank_timeout
        ) as corpus:
            answers = corpus.search_all(
                asked,
                only=wanted,
                one_per_document=per_document,
                around="section" if section else neighbours,
                **options,
            )
    # The error of a single question fails the command; of several questions, each has its own error in the output.
    if questions is None and answers[0].error is not None:
        raise answers[0].error
    plain = [_plain(each) for each in answers]
    pictures: list[list[list[str]]] = [[[] for _ in each] for each in answers]
    if drawn is not None:
        pictures = [
            drawn.of_hits(each, number if len(answers) > 1 else 0) for number, each in enumerate(answers, 1)
        ]
        for each, files in zip(plain, pictures, strict=True):
            for hit, names in zip(each["hits"], files, strict=True):
                hit["pictures"] = names
    shown = render_hits.answers(answers, explain=explain, pictures=pictures)
    show(plain if questions is not None else plain[0]["hits"], shown, out)
    return OK if all(answers) else INCOMPLETE


def _questions_of(question: Sequence[str] | None, questions: Path | None) -> list[str]:
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
            remedy="Write one question on each line.",
        )
    return asked


def _plain(answer: Found) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "question": answer.question,
        "hits": [asdict(hit) for hit in answer],
        "notes": list(answer.notes),
        "error": str(answer.error) if answer.error is not None else "",
    }
