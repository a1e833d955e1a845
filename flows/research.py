"""Research a question over all nodes."""

from typing import Annotated

from prefect_ollama.blocks.documents import CheckedReport
from prefect_ollama.blocks.resolve import resolve_table
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import check_first, flow, refuse_empty_tabs, unless_named
from prefect_ollama.flows.parameters import shown
from prefect_ollama.flows.researching import ReportRun, make_report, report_can_be_made
from prefect_ollama.tasks.researching import Searching, Steps
from prefect_ollama.tasks.searching import Connections, normalised, open_for_search

# Task of the text for the chat model; the question follows.
TASK = "Answer this question: "


@flow(
    name="research",
    flow_run_name=unless_named(lambda given: f"research {given['question']}"),
    description="Research a question in parts over all nodes with a chat model; every sentence has verified quotes.",
)
@check_first(report_can_be_made)
def research(
    question: parameters.Question,
    cluster: parameters.Cluster = None,
    table: parameters.Table = None,
    model: parameters.Model = None,
    chat_model: parameters.ChatModel = None,
    other_chat_models: parameters.OtherChatModels = parameters.NO_MODELS,
    judge_model: parameters.JudgeModel = None,
    # Each part costs a search, a draft and two rounds of checks, and the synthesis has to read its findings.
    parts: Annotated[
        int,
        shown(
            "Parts",
            "Maximum number of smaller questions; 1 does not split the question.",
            ge=1,
            le=12,
        ),
    ] = 5,
    passages: Annotated[
        int,
        shown(
            "Passages",
            "Maximum number of passages that a model gets for each part; fewer if its context is too short.",
            ge=1,
            le=100,
        ),
    ] = 12,
    limits: parameters.Limits = parameters.DEFAULT_LIMITS,
    mode: parameters.Mode = "hybrid",
    source: parameters.PassageSource = None,
    only: parameters.Only = parameters.EVERYTHING,
    file: parameters.File = None,
) -> CheckedReport:
    """Research a question: its parts in parallel over all nodes, and a text from findings that a critic confirmed.

    Returns:
        The report: the text with file, page and words of each quote, the parts, what was dropped, and the steps.

    Raises:
        ConfigurationError: A parameter or block cannot work, no chat model is named, a filter fits no document, or the
            file cannot be written.
        TableError: There is no such table, or it holds vectors of another model than the nodes'.
        ClusterError: No node works, or none can chat with a chat model.
        ChatError: No node gave an answer that can be used, for any part.

    Requires: the table readable on the machine that runs it; a node with the table's model, or the embedded model if
    the table was made with it; nodes with a chat model.

    Examples:
        >>> from prefect_ollama.flows import research
        >>> report = research(
        ...     "Why does the tide rise twice a day?", "http://big-box:11434", "papers", chat_model="qwen3"
        ... )
        >>> quote = next(report.answer.quotes())
        >>> quote.path, quote.page_from
        ('tides.pdf', 1)
    """
    refuse_empty_tabs()
    store = open_for_search(resolve_table(table))
    asked = normalised(question)
    return make_report(
        asked,
        TASK + asked,
        lambda run: _begin_parts(run, asked, parts),
        Connections(store, cluster, model, chat_model, judge_model, other_chat_models),
        file=file,
        searching=Searching(store, passages, mode, only.to_filter(source).condition(store.manifest)),
        bounds=limits.to_options(),
    )


def _begin_parts(run: ReportRun, question: str, most: int) -> None:
    questions: tuple[str, ...] = (question,)
    if most > 1:
        split = run.step(Steps.split, "Split the question", question, most)
        # If a limit does not allow the split, the question itself is the only part.
        questions = split.result().content.value or questions
    # All parts are submitted before any is waited for, so that no node is idle meanwhile.
    for number, part in enumerate(questions, 1):
        label = f"part {number}"
        found = run.step(Steps.find, f"Find passages of {label}", part)
        run.part(label, part, part, found, found=True)
