"""`prefect-ollama research` and `prefect-ollama summarize`: reports over all nodes, with quotes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_ollama.blocks.option import values_of
from prefect_ollama.console import INCOMPLETE, OK, guarded, show
from prefect_ollama.node_options import SEVERAL_CHAT, SeveralChatOptions
from prefect_ollama.options import PRINT, TABLE, PrintOptions, TableOptions, bounded, with_bounds
from prefect_ollama.question_options import EVERYTHING, QUESTION, ModeOption, Only
from prefect_ollama.tasks.researching import Bounds

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import CheckedReport

KEPT = "Finished steps are cached. Run again to continue."

OutputOption = Annotated[
    Path | None,
    Parameter(
        name=["--output", "-o"],
        help="Markdown file for the report, besides what is printed; an existing one is replaced.",
    ),
]


@with_bounds
@Parameter(
    name="*",
    name_transform=lambda name: f"max-{name}",
    help="Limits. If a limit ends the work, the results so far are shown.",
)
@dataclass(frozen=True, slots=True)
class MostOf(Bounds):
    """How much a report may take."""


DEFAULT_MOST = MostOf()


@guarded(kept=KEPT)
def research(
    question: Annotated[list[str], QUESTION],
    *,
    nodes: SeveralChatOptions = SEVERAL_CHAT,
    table: TableOptions = TABLE,
    parts: Annotated[
        int, bounded("Maximum number of smaller questions; 1 does not split the question.", gte=1, lte=12)
    ] = 5,
    passages: Annotated[
        int, bounded("Maximum number of passages that a model gets for each part.", gte=1, lte=100)
    ] = 12,
    most: MostOf = DEFAULT_MOST,
    mode: ModeOption = "hybrid",
    only: Only = EVERYTHING,
    output: OutputOption = None,
    out: PrintOptions = PRINT,
) -> int:
    """Research a question in parts over all nodes; a critic checks the findings, and each sentence has quotes."""
    from prefect_ollama.flows import research as flow

    report: CheckedReport = flow(
        " ".join(question),
        parts=parts,
        passages=passages,
        mode=mode,
        **_common(nodes, table, most, only, output),
    )
    return _show_report(report, out)


@guarded(kept=KEPT)
def summarize(
    documents: Annotated[
        list[str] | None,
        Parameter(
            help="Documents to summarise: paths, file names, folders or quoted glob patterns. By default all that "
            "the other options allow."
        ),
    ] = None,
    *,
    nodes: SeveralChatOptions = SEVERAL_CHAT,
    table: TableOptions = TABLE,
    most: MostOf = DEFAULT_MOST,
    only: Only = EVERYTHING,
    output: OutputOption = None,
    out: PrintOptions = PRINT,
) -> int:
    """Summarise documents over all nodes; each sentence has its page and a quote."""
    from prefect_ollama.flows import summarize as flow

    # As an argument or with `--document`: both name documents, and may be mixed.
    wanted = replace(only, document=(*(documents or ()), *only.document))
    report: CheckedReport = flow(**_common(nodes, table, most, wanted, output))
    return _show_report(report, out)


def _common(
    nodes: SeveralChatOptions, table: TableOptions, most: MostOf, only: Only, output: Path | None
) -> dict[str, Any]:
    from prefect_ollama.flows import Limits

    return nodes.models() | {
        "cluster": nodes.named(),
        "table": table.named(),
        "limits": Limits(**values_of(most)),
        "source": only.source,
        "only": only.form(),
        "file": None if output is None else str(output),
    }


def _show_report(report: CheckedReport, out: PrintOptions) -> int:
    from prefect_ollama import render_answer
    from prefect_ollama.tasks.reporting import report_lines

    show(report, render_answer.lines(report_lines(report)), out)
    return OK if report else INCOMPLETE
