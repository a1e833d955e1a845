"""Open the table and the nodes for a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import prefect_ollama
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import VerifiedChat
from prefect_ollama.blocks.resolve import Nodes
from prefect_ollama.tasks.answering import AnswerNodes, AskOptions, answering_nodes, with_models
from prefect_ollama.tasks.query import SearchOptions
from prefect_ollama.tasks.research import Workplace
from prefect_ollama.tasks.researching import Bounds, Budget, Steps
from prefect_ollama.tasks.searching import refuse_other_vectors
from prefect_ollama.tasks.verify_nodes import nodes_for_questions


@contextmanager
def opened_workplace(
    store: Store,
    cluster: Nodes | None,
    *,
    model: str | None,
    chat_model: str | None,
    other_chat_models: Sequence[str],
    judge_model: str | None,
    searching: SearchOptions,
    bounds: Bounds,
) -> Iterator[Workplace]:
    """Yield table and nodes, verified; bulk work of other runs holds back meanwhile, as for a question.

    Args:
        cluster: The nodes, as flows take them.
        model: The embedding model; None for the table's own.
        chat_model: The chat model; None for the cluster's own.
        other_chat_models: Models of nodes without the chat model; empty for the cluster's own.
        judge_model: The judge model; None for the cluster's own.

    Raises:
        TableError: The nodes do not give the table's vectors.
        ClusterError: No node works, or none can chat with the chat models.
    """
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
        yield Workplace(store, nodes, searching, _salt(store, nodes, searching), steps)


def _salt(store: Store, nodes: AnswerNodes, searching: SearchOptions) -> str:
    """Return all that decides the results of steps besides their own input."""
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
