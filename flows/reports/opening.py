"""Open the table and the nodes for a report, and show and write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import prefect_ollama
from prefect_ollama.blocks.cluster import Nodes
from prefect_ollama.blocks.documents import CheckedReport
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import VerifiedChat
from prefect_ollama.tasks.answer import show_report, write_report
from prefect_ollama.tasks.answering import AnswerNodes, AskOptions, answering_nodes, with_models
from prefect_ollama.tasks.query import SearchOptions
from prefect_ollama.tasks.research import Workplace
from prefect_ollama.tasks.researching import Bounds, Budget, Steps, check_output
from prefect_ollama.tasks.searching import refuse_other_vectors
from prefect_ollama.tasks.verify_nodes import nodes_for_questions


def make_report(
    make: Callable[[Workplace], CheckedReport],
    store: Store,
    cluster: Nodes | None,
    *,
    file: str | None,
    model: str | None,
    chat_model: str | None,
    other_chat_models: Sequence[str],
    judge_model: str | None,
    searching: SearchOptions,
    bounds: Bounds,
) -> CheckedReport:
    """Return a report, which Prefect shows; bulk work of other runs holds back meanwhile, as for a question.

    Args:
        make: Makes the report, with the table and the verified nodes.
        cluster: The nodes, as flows take them.
        file: The file into which the report is written; None for none.
        model: The embedding model; None for the table's own.
        chat_model: The chat model; None for the cluster's own.
        other_chat_models: Models of nodes without the chat model; empty for the cluster's own.
        judge_model: The judge model; None for the cluster's own.

    Raises:
        ConfigurationError: The file cannot be written.
        TableError: The nodes do not give the table's vectors.
        ClusterError: No node works, or none can chat with the chat models.
    """
    # The file is checked first, so that no user waits for a report that cannot be written.
    output = None if file is None else check_output(file)
    with (
        nodes_for_questions(store, cluster, model) as (spec, dispatcher),
        answering_nodes(with_models(spec, chat_model, judge_model, other_chat_models), dispatcher) as nodes,
    ):
        # A search by words compares no vectors.
        if searching.mode != "text":
            refuse_other_vectors(store, dispatcher)
        steps = None
        if nodes.chat is not None:
            options = AskOptions(passages=searching.limit)
            steps = Steps(nodes, store.identity.model, Budget(bounds), options)
        report = make(Workplace(store, nodes, searching, _salt(store, nodes, searching), steps))
    show_report(report)
    if output is not None:
        write_report(report, output)
    return report


def _salt(store: Store, nodes: AnswerNodes, searching: SearchOptions) -> str:
    """Return everything that decides the results of steps, except their own inputs."""
    # The version of this package stands for its prompts, that of the table for its passages.
    chats = [each.chat for each in (nodes.chat, nodes.judge) if each is not None]
    judge = "" if nodes.judge is None else nodes.judge.chat.model.name
    parts = (prefect_ollama.__version__, store.version, searching, *map(_models, chats), f"judge {judge}")
    return repr(parts)


def _models(chat: VerifiedChat) -> list[tuple[str, str]]:
    """Return the models that answer, each with its settings and the digest of its build."""
    # How long a node keeps a model loaded changes no answer.
    models = {repr(replace(each, keep_alive="")): each for each in map(chat.model_of, chat.models)}
    return sorted((settings, chat.digest_of(each.name)) for settings, each in models.items())
