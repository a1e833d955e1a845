"""Open the table and the nodes for a report, and show and write it."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import prefect_ollama
from prefect_ollama.blocks.documents import CheckedReport
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import VerifiedChat
from prefect_ollama.blocks.output_files import output_file
from prefect_ollama.blocks.resolve import limits_folder
from prefect_ollama.flows.base import addresses_fit, filter_fits
from prefect_ollama.flows.researching.report_run import ReportRun
from prefect_ollama.tasks.answer import show_report, write_report
from prefect_ollama.tasks.answering import AnswerNodes, AskOptions
from prefect_ollama.tasks.dispatch import Asking
from prefect_ollama.tasks.researching import Bounds, Budget, Searching, Steps
from prefect_ollama.tasks.searching import Connections


def report_can_be_made(given: Mapping[str, Any]) -> None:
    """Check the parameters of a report, as far as no saved block is named (`check_first`)."""
    if given["file"] is not None:
        output_file(given["file"])
    store, only_addresses = filter_fits(given), addresses_fit(given)
    if store is not None and only_addresses:
        models = [given[name] for name in ("model", "chat_model", "judge_model", "other_chat_models")]
        Connections(store, given["cluster"], *models).refuse_no_chat()


def make_report(
    title: str,
    task: str,
    begin: Callable[[ReportRun], None],
    connections: Connections,
    *,
    file: str | None,
    searching: Searching | None = None,
    bounds: Bounds,
) -> CheckedReport:
    """Return a report, which Prefect shows; bulk work of other runs holds back meanwhile, as for a question.

    Args:
        title: The subject of the report.
        task: The task of its text, in words for the chat model.
        begin: Submits the parts of the report.
        connections: The table and the nodes, which are closed at the end.
        file: The file into which the report is written; None for none.
        searching: How passages are found; None if nothing is searched.

    Raises:
        ConfigurationError: No chat model is named, or the file cannot be written.
        TableError: The nodes do not give the table's vectors.
        ClusterError: No node works, or none can chat with the chat models.
    """
    # The file is checked first, so that no user waits for a report that cannot be written.
    output = None if file is None else output_file(file)
    with closing(connections) as opened, Asking(limits_folder()) as asking:
        opened.refuse_no_chat()
        # A search by words compares no vectors.
        of_table = searching is not None and searching.mode != "text"
        answering = opened.answering(asking, of_table=of_table)
        options = AskOptions() if searching is None else AskOptions(passages=searching.limit)
        salt = _salt(opened.store, answering, searching)
        model = opened.store.identity.model
        run = ReportRun(title, task, Steps(answering, model, Budget(bounds), options, searching, salt))
        begin(run)
        report = run.report()
    show_report(report)
    if output is not None:
        write_report(report, output)
    return report


def _salt(store: Store, nodes: AnswerNodes, searching: Searching | None) -> str:
    """Return everything that decides the results of steps, except their own inputs."""
    # The version of this package stands for its prompts, that of the table for its passages.
    chats = [each.chat for each in (nodes.chat, nodes.judge) if each is not None]
    judge = "" if nodes.judge is None else nodes.judge.chat.model.name
    how = None if searching is None else (searching.limit, searching.mode, searching.where)
    return repr((prefect_ollama.__version__, store.version, how, *map(_models, chats), f"judge {judge}"))


def _models(chat: VerifiedChat) -> list[tuple[str, str]]:
    """Return the models that answer, each with its settings and the digest of its build."""
    # How long a node keeps a model loaded changes no answer.
    models = {repr(replace(each, keep_alive="")): each for each in map(chat.model_of, chat.models)}
    return sorted((settings, chat.digest_of(each.name)) for settings, each in models.items())
