"""The nodes that answer: those that embed, chat and judge."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.nodes import (
    ChatModelSpec,
    ClusterSpec,
    VerifiedChat,
    full_name,
    other_chats,
    verify_chat,
)
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.resolve import limits_folder
from prefect_ollama.blocks.sync_async import blocking
from prefect_ollama.tasks.dispatch import ChatDispatcher, Chatting, Dispatcher
from prefect_ollama.tasks.prefect_state import download_log, run_logger


@dataclass(frozen=True, slots=True)
class AnswerNodes:
    """The nodes that answer a question.

    Attributes:
        embed: Those that embed; None if nothing does.
        chat: Those with the chat model; None if the cluster names none.
        judge: Those with the judge model; None if shared words and embeddings judge.
        notes: Notes about them for the reader of the answer.
    """

    embed: Dispatcher | None
    chat: Chatting | None = None
    judge: Chatting | None = None
    notes: tuple[str, ...] = ()


def with_models(
    spec: ClusterSpec, chat: str | None, judge: str | None, others: Sequence[str] = ()
) -> ClusterSpec:
    """Return a cluster with other models for chat and judging; None leaves those of the cluster.

    A model that the cluster names keeps its settings.

    Args:
        spec: The cluster.
        chat: The chat model.
        judge: The model that judges.
        others: Models that answer on nodes without the chat model; empty leaves those of the cluster. If there is no
            chat model, the first of them is used as such.
    """
    known = {full_name(each.name): each for each in (spec.judge, spec.chat) if each is not None}

    def named(name: str) -> ChatModelSpec:
        return known.get(full_name(name)) or ChatModelSpec(name, keep_alive=spec.model.keep_alive)

    if chat is None and spec.chat is None and others:
        chat = others[0]
    if chat is not None:
        spec = replace(spec, chat=named(chat))
        known = {full_name(chat): named(chat)} | known
    if spec.chat is not None:
        names = others or [each.name for each in spec.other_chats]
        spec = replace(spec, other_chats=other_chats(spec.chat, names))
    return spec if judge is None else replace(spec, judge=named(judge))


@contextmanager
def answering_nodes(spec: ClusterSpec, embed: Dispatcher) -> Iterator[AnswerNodes]:
    """Yield the nodes that answer. Nodes without the chat model only embed, and the log names them.

    Args:
        spec: The cluster.
        embed: Its nodes, which embed already; chat shares their limits, and those of other processes on this machine.

    Raises:
        ClusterError: The cluster names a chat model, and no node can chat with it.
    """
    if spec.chat is None:
        yield AnswerNodes(embed)
        return
    notes: list[str] = []
    with ExitStack() as opened:
        # Other processes ask and judge on the same nodes. Together they keep the nodes' limits.
        shared = limits_folder()
        chat = opened.enter_context(ChatDispatcher(_verified(spec), shared, beside=embed))
        # A node that answers with another model than the judge model may not judge.
        judge = chat if spec.judge == spec.chat and not chat.chat.several_models else None
        if spec.judge is not None and judge is None:
            try:
                verified = _verified(replace(spec, chat=spec.judge, other_chats=()))
                judge = opened.enter_context(ChatDispatcher(verified, shared, beside=embed))
            except ClusterError as error:
                # Without a judge model shared words judge the answer, and the answer says so.
                run_logger().warning("%s", error)
                notes.append(f"No node can judge with {spec.judge.name!r}.")
        yield AnswerNodes(embed, chat, judge, tuple(notes))


def _verified(spec: ClusterSpec) -> VerifiedChat:
    logger = run_logger()
    found = blocking(verify_chat(spec, progress=download_log()))
    for error in found.left_out.values():
        logger.warning("Only embeds: %s", error)
    logger.info(
        "%d of %s with %r (context %s tokens)",
        len(found.models),
        quantity(len(spec.nodes), "node chats", "nodes chat"),
        found.model.name,
        found.model.num_ctx or "unknown",
    )
    return found
