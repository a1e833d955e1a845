"""A table that is opened once and asked often, from sync and async code, with no Prefect server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from prefect_ollama.blocks.documents import CheckedAnswer, Found
from prefect_ollama.blocks.lance import Mode, StoreSpec
from prefect_ollama.blocks.resolve import limits_folder, resolve_table
from prefect_ollama.tasks.searching._connections import Connections, open_for_search
from prefect_ollama.tasks.searching._search import search_all
from prefect_ollama.tasks.searching.context import Around
from prefect_ollama.tasks.searching.filter import Filter
from prefect_ollama.tasks.searching.question import normalised
from prefect_ollama.tasks.searching.reranker import RERANK_TIMEOUT_S, reranker_of

if TYPE_CHECKING:
    from prefect_ollama.blocks.cluster import Nodes
    from prefect_ollama.blocks.openai_node import OpenAICompatibleNode
    from prefect_ollama.blocks.table import LanceTable
    from prefect_ollama.tasks.answering import AskEvent, AskOptions

EVERYTHING: Final = Filter()


class Corpus:
    """A table with the nodes that embed questions to it. Close it, or use it as a context manager, sync or async.

    Several threads may ask at once. A table that `re_embed` replaces meanwhile is opened again. Nodes are verified when
    a question needs them for the first time: they must give the vectors of the table. If no node is named and no Ollama
    server answers on this host, the embedded model serves in a process that ends with the corpus.

    Args:
        table: A table block; or the name of a table in `lancedb` in Prefect's home, a folder (with a slash in it) or
            an object store's URL, or `block:NAME` for a saved block. None means `documents` in `lancedb` in Prefect's
            home.
        cluster: The nodes that embed questions: a cluster block or its name; URLs, node blocks or their names. None
            means the node that `OLLAMA_HOST` names, else an Ollama on this host, else the embedded model.
        model: Ollama's name of the embedding model; the table's own otherwise.
        chat_model: Ollama's name of the model that answers; the cluster's own otherwise.
        judge_model: Ollama's name of the model that judges answers; the cluster's own otherwise.
        reranker: What orders passages again: URLs of servers that rerank, OpenAI Compatible Nodes or names of saved
            ones, one or several with the same model; or `judge` for the judge or chat model of the nodes,
            `judge:MODEL` for another one. None keeps the order of the search.
        rerank_timeout: Seconds for its answer; after them the order of the search stays.

    Raises:
        ConfigurationError: A block is missing or wrong, the place is none, or no chat model is named that could judge.
        TableMissing: The table does not exist.
        TableError: It cannot be reached or read.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> with open_corpus("papers", "http://gpu-box:11434") as corpus:
        ...     (hit,) = corpus.search("Why does the tide rise twice a day?", mode="text", limit=1)
        >>> hit.path, hit.page_from
        ('tides.pdf', 1)
    """

    def __init__(
        self,
        table: LanceTable | StoreSpec | str | Path | None = None,
        cluster: Nodes | None = None,
        *,
        model: str | None = None,
        chat_model: str | None = None,
        judge_model: str | None = None,
        reranker: str | OpenAICompatibleNode | Sequence[str | OpenAICompatibleNode] | None = None,
        rerank_timeout: float = RERANK_TIMEOUT_S,
    ) -> None:
        # Before the table is opened, so that a wrong name is refused at once.
        named = reranker_of(reranker, timeout=rerank_timeout)
        place = table if isinstance(table, StoreSpec) else resolve_table(table)
        self._open = Connections(
            open_for_search(place), cluster, model, chat_model, judge_model, reranker=named
        )
        self._open.refuse_no_judge()

    def search(
        self,
        question: str,
        *,
        mode: Mode = "hybrid",
        limit: int = 5,
        only: Filter = EVERYTHING,
        one_per_document: bool = False,
        around: Around = 0,
    ) -> Found:
        """Return the passages that answer a question best, the best first.

        If a reranker gives no usable scores, the order of the search stays, and `Found.notes` says so.

        Args:
            question: What you want to know.
            mode: `vector` by meaning, `text` by words (needs no node), `hybrid` by both.
            limit: How many passages at most; they have different texts.
            only: Which passages may be found.
            one_per_document: Whether only the best passage of each document is returned.
            around: How many passages before and after each hit come with it, or "section" for those of its section.

        Raises:
            ConfigurationError: A parameter cannot work, a filter fits no document, or the corpus is closed.
            TableError: The nodes do not give the table's vectors, or the table cannot answer.
            ClusterError: No node works.
            TextError: The question cannot be embedded.
        """
        (found,) = self.search_all(
            [question], mode=mode, limit=limit, only=only, one_per_document=one_per_document, around=around
        )
        if found.error is not None:
            raise found.error
        return found

    def search_all(
        self,
        questions: Sequence[str],
        *,
        mode: Mode = "hybrid",
        limit: int = 5,
        only: Filter = EVERYTHING,
        one_per_document: bool = False,
        around: Around = 0,
    ) -> list[Found]:
        """Return what each of several questions finds, in their order; they are embedded together.

        A question that cannot be embedded has an error in its answer, and does not stop other questions. The rest is as
        with `search`.

        Raises:
            ConfigurationError: A parameter cannot work, a filter fits no document, or the corpus is closed.
            TableError: The nodes do not give the table's vectors, or the table cannot answer.
            ClusterError: No node works.
        """
        return search_all(self._open, questions, None, mode, limit, only, one_per_document, around)

    async def asearch(self, question: str, **options: Any) -> Found:
        """`search`, for async code: other coroutines run meanwhile. The options are those of `search`."""
        return await asyncio.to_thread(self.search, question, **options)

    async def asearch_all(self, questions: Sequence[str], **options: Any) -> list[Found]:
        """`search_all`, for async code. The options are those of `search_all`."""
        return await asyncio.to_thread(self.search_all, questions, **options)

    def ask(
        self,
        question: str,
        *,
        mode: Mode = "hybrid",
        only: Filter = EVERYTHING,
        options: AskOptions | None = None,
        listen: Callable[[AskEvent], None] | None = None,
    ) -> CheckedAnswer:
        """Answer a question; every sentence of the answer has quotes that were found in the documents.

        Without a chat model these are the sentences of the documents that are nearest to the question.

        Args:
            question: What you want to know.
            mode: How passages are searched, as with `search`.
            only: Which passages may be found.
            options: How many passages and drafts, and what becomes of sentences that are not supported.
            listen: Called with each step as it comes, in this thread.

        Raises:
            ConfigurationError: A parameter cannot work, a filter fits no document, or the corpus is closed.
            TableError: The nodes do not give the table's vectors, or the table cannot answer.
            ClusterError: No node works, or none can chat with the chat model.
            ChatError: No node gave an answer that can be used.
            TextError: The question cannot be embedded.

        Examples:
            >>> from prefect_ollama import open_corpus
            >>> with open_corpus("papers", "http://gpu-box:11434") as corpus:
            ...     answer = corpus.ask("Why does the tide rise twice a day?")
            >>> answer.kind, [(quote.path, quote.page_from) for quote in answer.quotes()]
            ('extract', [('tides.pdf', 1)])
        """
        from prefect_ollama.tasks.answering import AskOptions, answer_question, silent
        from prefect_ollama.tasks.dispatch import Asking

        options = options or AskOptions()
        # One context for search and answer, so that runs do not take the nodes between the two.
        with Asking(limits_folder()) as asking:
            (hits,) = search_all(self._open, [question], asking, mode, options.passages, only)
            if hits.error is not None:
                raise hits.error
            nodes = self._open.answering(asking, of_table=mode != "text")
            answer = answer_question(
                normalised(question), hits, nodes, model=self.model, options=options, listen=listen or silent
            )
            return replace(answer, notes=(*hits.notes, *answer.notes)) if hits.notes else answer

    async def aask(self, question: str, **options: Any) -> CheckedAnswer:
        """`ask`, for async code: other coroutines run meanwhile. The options are those of `ask`."""
        return await asyncio.to_thread(self.ask, question, **options)

    @property
    def model(self) -> str:
        """Ollama's name of the table's embedding model."""
        return self._open.store.identity.model

    def close(self) -> None:
        """Close connections, and end an embedded node."""
        self._open.close()

    async def aclose(self) -> None:
        """`close`, for async code."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


open_corpus = Corpus
"""Open a table for questions: a verb for `Corpus`, as `open` is one for files."""
