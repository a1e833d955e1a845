"""The connections of a corpus: its table, and the nodes that embed, answer and rerank."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING

from prefect_ollama.blocks.errors import ConfigurationError, TableError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.tasks.prefect_state import run_logger
from prefect_ollama.tasks.searching.question import NOT_SEARCHED
from prefect_ollama.tasks.searching.reranker import Reranker, Score

if TYPE_CHECKING:
    from prefect_ollama.blocks.cluster import Nodes
    from prefect_ollama.blocks.nodes import ClusterSpec
    from prefect_ollama.tasks.answering import AnswerNodes
    from prefect_ollama.tasks.dispatch import Asking, Dispatcher


class Connections:
    """The table and the nodes of a corpus or a report. Several threads may use them.

    Nodes are opened when a question needs them for the first time: a search by words needs no node, and does not wait
    for the import of the HTTP client. The arguments are those of `Corpus`, and `other_chat_models` those of nodes
    without the chat model.
    """

    def __init__(
        self,
        store: Store,
        cluster: Nodes | None,
        model: str | None,
        chat_model: str | None,
        judge_model: str | None,
        other_chat_models: Sequence[str] = (),
        *,
        reranker: Reranker | None = None,
    ) -> None:
        if not all(name is None or name.strip() for name in (model, chat_model, judge_model)):
            raise ConfigurationError(
                "The name of a model is empty.",
                state=NOT_SEARCHED,
                remedy="Write a name, or leave the model out.",
            )
        self._cluster, self._model = cluster, model
        self._chat_models = chat_model, judge_model, other_chat_models
        self.reranker = reranker
        self.store = store
        # Two questions at once must not verify the nodes twice, nor start two embedded nodes.
        self._lock = Lock()
        self._opened = ExitStack()
        # Opened separately, because a reranker on a server of its own needs no other node.
        self._ranking = ExitStack()
        self._spec: ClusterSpec | None = None
        self._compared = False
        self.nodes: Dispatcher | None = None
        self._answering: AnswerNodes | None = None
        self._score: Score | None = None
        self._closed = False

    def table(self) -> Store:
        """Return the table. If `re_embed` has put another one in its place, that is opened; it may need other nodes."""
        with self._lock:
            self._refuse_closed()
            if self.store.replaced:
                self.store = open_for_search(self.store.spec)
                self._leave_nodes()
            return self.store

    def embedding(self, asking: Asking, *, of_table: bool = True) -> Dispatcher:
        """Return the nodes that embed questions, and let other runs send nothing to them meanwhile.

        Args:
            of_table: Whether nodes that do not give the table's vectors are refused. A search by words needs none.
        """
        with self._lock:
            self._refuse_closed()
            if self.nodes is None:
                from prefect_ollama.tasks.dispatch import Dispatcher, divide_long_words
                from prefect_ollama.tasks.embedding import running_nodes
                from prefect_ollama.tasks.searching.nodes import asking_as, verified

                made = self.store.identity
                model = self._model or made.model
                with ExitStack() as opened:
                    self._spec = opened.enter_context(running_nodes(self._cluster, model=model, count=1))
                    # Before they are verified: that asks them too.
                    asking.at([node.server for node in self._spec.nodes])
                    asked = asking_as(self._spec, made)
                    proven = verified(asked, made, quick=True)
                    self.nodes = opened.enter_context(Dispatcher(proven, prepare=divide_long_words))
                    self._opened = opened.pop_all()
            asking.at([node.server for node in self.nodes.cluster.spec.nodes])
            if of_table and not self._compared:
                from prefect_ollama.tasks.searching.nodes import refuse_other_vectors

                try:
                    refuse_other_vectors(self.store, self.nodes)
                except BaseException:
                    self._leave_nodes()  # the next question verifies them again: they may be repaired by then
                    raise
                self._compared = True
            return self.nodes

    def answering(self, asking: Asking, *, of_table: bool = True) -> AnswerNodes:
        """Return the nodes that answer questions; `of_table` is as for `embedding`."""
        nodes = self.embedding(asking, of_table=of_table)
        with self._lock:
            self._refuse_closed()
            if self._answering is None:
                from prefect_ollama.tasks.answering import answering_nodes, with_models

                assert self._spec is not None
                spec = with_models(self._spec, *self._chat_models)
                self._answering = self._opened.enter_context(answering_nodes(spec, nodes))
            return self._answering

    def refuse_no_chat(self) -> None:
        """Refuse a report without a chat model, before a node is asked.

        Raises:
            ConfigurationError: Neither the caller nor the cluster names one, or a block is missing or wrong.
        """
        if self._named().chat is None:
            raise ConfigurationError(
                "No chat model is named, and a report needs one.",
                state="Nothing was asked.",
                remedy="Name one: the option --chat-model, the parameter *Chat model*, or that field of the cluster "
                "block. `ask` answers with sentences of the documents if there is none.",
            )

    def refuse_no_judge(self) -> None:
        """Refuse a reranker that judges without a chat model, before a node is asked.

        Raises:
            ConfigurationError: As for `refuse_no_chat`.
        """
        if self.reranker is not None and self.reranker.judges:
            from prefect_ollama.tasks.searching.judge import judge_of

            judge_of(self._named(), self.reranker.judge)

    def _named(self) -> ClusterSpec:
        from prefect_ollama.blocks.resolve import resolve_cluster
        from prefect_ollama.tasks.answering import with_models

        found = resolve_cluster(self._cluster, model=self._model or self.store.identity.model)
        return with_models(found.spec, *self._chat_models)

    def scoring(self, reranker: Reranker, asking: Asking) -> Score:
        """Return what scores passages."""
        nodes = self.embedding(asking, of_table=False) if reranker.judges else None
        with self._lock:
            self._refuse_closed()
            if self._score is None:
                from prefect_ollama.tasks.answering import with_models

                spec = self._spec and with_models(self._spec, *self._chat_models)
                self._score = self._ranking.enter_context(reranker.opened(spec, nodes))
            return self._score

    def close(self) -> None:
        """Close connections, and end an embedded node."""
        with self._lock:
            self._closed = True
            self._leave_nodes()

    def _leave_nodes(self) -> None:
        self.nodes = self._answering = self._score = None
        self._compared = False
        # The reranker first: it may chat over the nodes.
        self._ranking.close()
        self._opened.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ConfigurationError("The corpus is closed.", remedy="Open it again with `open_corpus`.")


def open_for_search(spec: StoreSpec) -> Store:
    """Open a table. A table of an earlier version gets its index of words, if it can be written.

    Raises:
        TableMissing: The table does not exist.
        TableError: It cannot be reached or read.
    """
    store = Store.open(spec)
    try:
        if store.upgrade():
            run_logger().info("The table is of an earlier version; its words were indexed again.")
    except TableError as error:  # without the right to write, the search by vectors still works
        run_logger().warning("Some words are not found: %s", error)
    return store
