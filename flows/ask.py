"""Answer a question from a table."""

from typing import Annotated

from prefect_ollama.blocks.documents import CheckedAnswer, Quote
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import (
    addresses_fit,
    check_first,
    filter_fits,
    flow,
    refuse_empty_tabs,
    unless_named,
)
from prefect_ollama.flows.parameters import shown, shown_option
from prefect_ollama.tasks.answer import answer_question, draw_quotes, show_answer
from prefect_ollama.tasks.answering import AskOptions
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.searching import MarkedPage, open_corpus

DEFAULT = AskOptions()


@flow(
    name="ask",
    flow_run_name=unless_named(lambda given: f"ask {given['question']}"),
    description="Answer a question from a LanceDB table; every sentence has quotes that were found in the documents.",
)
@check_first(addresses_fit, filter_fits)
def ask(
    question: parameters.Question,
    cluster: parameters.Cluster = None,
    table: parameters.Table = None,
    model: parameters.Model = None,
    chat_model: parameters.ChatModel = None,
    judge_model: parameters.JudgeModel = None,
    passages: Annotated[int, shown_option(AskOptions, "passages")] = DEFAULT.passages,
    drafts: Annotated[int, shown_option(AskOptions, "drafts")] = DEFAULT.drafts,
    mark_unsupported: Annotated[bool, shown_option(AskOptions, "mark_unsupported")] = False,
    mode: parameters.Mode = "hybrid",
    source: parameters.PassageSource = None,
    only: parameters.Only = parameters.EVERYTHING,
    show: Annotated[
        bool,
        shown(
            "Show pages",
            "Draw the pages of the quotes into the artifact, their words marked; the files must be there.",
        ),
    ] = False,
) -> CheckedAnswer:
    """Answer a question from a table; every sentence of the answer has quotes that were found in the documents.

    Returns:
        The answer, with file, page and words of each quote, and what was left out.

    Raises:
        ConfigurationError: A parameter or block cannot work, or a filter fits no document.
        TableError: There is no such table, or it holds vectors of another model than the nodes'.
        ClusterError: No node works, or none can chat with the chat model.
        ChatError: No node gave an answer that can be used.

    Requires: the table readable on the machine that runs it; a node with the table's model, or the embedded model if
    the table was made with it; for answers in own words a node with a chat model.

    Examples:
        >>> from prefect_ollama.flows import ask
        >>> answer = ask("Why does the tide rise twice a day?", "http://gpu-box:11434", "papers")
        >>> quote = next(answer.quotes())
        >>> answer.kind, quote.path, quote.page_from
        ('extract', 'tides.pdf', 1)
    """
    refuse_empty_tabs()
    options = AskOptions(passages, drafts, mark_unsupported=mark_unsupported)
    with open_corpus(table, cluster, model=model, chat_model=chat_model, judge_model=judge_model) as corpus:
        answer = answer_question(Opaque(corpus), question, mode, only.to_filter(source), options)
    # After the nodes are closed: drawing takes seconds, in which other runs may use them.
    pages: dict[Quote, list[MarkedPage]] = draw_quotes(Opaque(answer)).content if show and answer else {}
    show_answer(answer, Opaque(pages))
    return answer
