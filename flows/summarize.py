"""Summarise a document or a folder over all nodes."""

from collections.abc import Mapping
from typing import Annotated, Any

from prefect_ollama.blocks.documents import CheckedReport, Hit
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.resolve import resolve_table
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import Only, check_first, flow, refuse_empty_tabs, unless_named
from prefect_ollama.flows.parameters import shown
from prefect_ollama.flows.researching import ReportRun, make_report, report_can_be_made
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.researching import passages_of, windows_of
from prefect_ollama.tasks.searching import Connections, open_for_search

# Question to the chat model about each window.
WINDOW = (
    "What do these passages say? Give their main statements in the order of the passages and in their language, with "
    "results, numbers, names and dates."
)

# Task of the text for the chat model.
TASK = (
    "Summarise the findings in their order: first what the documents are about, then their main statements."
)


def _name(given: Mapping[str, Any]) -> str:
    only = given["only"]
    names = only.documents if isinstance(only, Only) else only.get("documents", [])
    return f"summarize {', '.join(names) or given.get('source') or 'all documents'}"


@flow(
    name="summarize",
    flow_run_name=unless_named(_name),
    description="Summarise documents over all nodes with a chat model; every sentence has its page and a quote.",
)
@check_first(report_can_be_made)
def summarize(
    only: Annotated[
        Only, shown("Only", "Which documents and pages are summarised. Without conditions, all are.")
    ] = parameters.EVERYTHING,
    cluster: parameters.Cluster = None,
    table: parameters.Table = None,
    model: parameters.Model = None,
    chat_model: parameters.ChatModel = None,
    other_chat_models: parameters.OtherChatModels = parameters.NO_MODELS,
    judge_model: parameters.JudgeModel = None,
    limits: parameters.Limits = parameters.DEFAULT_LIMITS,
    source: parameters.PassageSource = None,
    file: parameters.File = None,
) -> CheckedReport:
    """Summarise a document, a folder or a whole table: windows in parallel over all nodes, then one text from findings.

    Returns:
        The report: the text with file, page and words of each quote, the windows, what was dropped, and the steps.

    Raises:
        ConfigurationError: A parameter or block cannot work, no chat model is named, a filter fits no document, or the
            file cannot be written.
        TableError: There is no such table, or it holds vectors of another model than the nodes'.
        ClusterError: No node works, or none can chat with a chat model.
        ChatError: No node gave an answer that can be used, for any window.

    Requires: the table readable on the machine that runs it; a node with the table's model, or the embedded model if
    the table was made with it; nodes with a chat model.

    Examples:
        >>> from prefect_ollama.flows import Only, summarize
        >>> report = summarize(
        ...     Only(documents=["tides.pdf"]), "http://big-box:11434", "papers", chat_model="qwen3"
        ... )
        >>> [(quote.path, quote.page_from) for quote in report.answer.quotes()]
        [('tides.pdf', 1)]
    """
    refuse_empty_tabs()
    store = open_for_search(resolve_table(table))
    wanted = only.to_filter(source)
    documents = passages_of(store, wanted.documents_of(store.manifest()), wanted.pages)
    if not documents:
        raise ConfigurationError(
            "No passage of the table matches the filter.",
            state="Nothing was asked.",
            remedy="`prefect-ollama documents` lists what the table has.",
        )
    return make_report(
        _title(documents),
        TASK,
        lambda run: _begin_windows(run, documents),
        Connections(store, cluster, model, chat_model, judge_model, other_chat_models),
        file=file,
        bounds=limits.to_options(),
    )


def _title(documents: list[tuple[Hit, ...]]) -> str:
    if len(documents) == 1:
        return f"Summary of {documents[0][0].path}"
    return f"Summary of {len(documents)} documents"


def _begin_windows(run: ReportRun, documents: list[tuple[Hit, ...]]) -> None:
    chat, options = run.steps.nodes.chat, run.steps.options
    assert chat is not None
    windows = windows_of(documents, WINDOW, chat.chat.model, options.answer_tokens)
    # First windows of all documents come first: where a limit ends the run, each document was begun.
    for number in sorted(range(len(windows)), key=lambda each: (windows[each].turn, each)):
        window = windows[number]
        run.part(f"window {number + 1}", window.title, WINDOW, Opaque(window.passages), found=False)
