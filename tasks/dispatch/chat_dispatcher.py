"""Chat over all nodes of a cluster, from sync or async code and any thread."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from prefect_ollama.blocks.nodes import ChatRequest, VerifiedChat
from prefect_ollama.tasks.dispatch._chat_job import ChatJob
from prefect_ollama.tasks.dispatch._chat_kind import ChatKind
from prefect_ollama.tasks.dispatch._engine_thread import EngineThread
from prefect_ollama.tasks.dispatch.chat import ChatAnswer, ChatAnswers, ChatEvent
from prefect_ollama.tasks.dispatch.dispatcher import Dispatcher
from prefect_ollama.tasks.dispatch.stats import DispatchStats


class ChatDispatcher:
    """Chats over all nodes of a cluster. Close it, or use it as a context manager.

    Each request goes to the node that is expected to finish it first. It goes to another node if that one dies, fails,
    or gives an answer that does not fit; see `docs/dispatch.md`.

    Args:
        chat: The nodes, verified (`prefect_ollama.blocks.nodes.verify_chat`).
        shared_folder: Folder in which all users of the same nodes share their limits; None if there are no others.
        beside: The dispatcher that embeds on the same nodes in this process. Together they keep the nodes' limits, and
            urgent requests of one go before bulk work of the other.
    """

    def __init__(
        self, chat: VerifiedChat, shared_folder: Path | None = None, *, beside: Dispatcher | None = None
    ) -> None:
        self.chat = chat
        self._kind = ChatKind(chat)
        thread = EngineThread() if beside is None else beside.engine.thread
        self._engine = thread.open(self._kind, chat.spec, shared_folder)

    def ask(
        self,
        requests: Sequence[ChatRequest],
        *,
        urgent: bool = False,
        avoid: frozenset[str] = frozenset(),
        timeout: float | None = None,
    ) -> ChatAnswers:
        """Send requests, and wait for all answers. May be called from many threads at once.

        Args:
            requests: The requests.
            urgent: Whether they go before all other work, because a person waits for the answers.
            avoid: Names of nodes that get a request only if no other node works, or each other one failed on it.
            timeout: Seconds after which the requests are dropped; None waits for all answers.

        Returns:
            One answer or one error for every request, in order.

        Raises:
            ConfigurationError: The format of a request is no JSON schema.
            TimeoutError: The answers took longer than `timeout`.
            ChatUnfinished: No node worked for the cluster's `give_up_after`, or the dispatcher was closed; the answers
                until then are in its `answers`.
            ClusterError: The dispatcher was closed before.
        """
        job = self._submit(requests, urgent=urgent, avoid=avoid)
        try:
            return job.future.result(timeout)
        except BaseException:
            self._engine.cancel(job)
            raise

    async def aask(self, requests: Sequence[ChatRequest], *, urgent: bool = False) -> ChatAnswers:
        """`ask`, for async code in any event loop. Cancelling it drops its requests."""
        job = self._submit(requests, urgent=urgent)
        try:
            return await asyncio.shield(asyncio.wrap_future(job.future))
        except BaseException:
            self._engine.cancel(job)
            raise

    def stream(self, request: ChatRequest) -> Iterator[ChatEvent]:
        """Send one request before all other work, and yield its answer piece by piece.

        Closing the iterator drops the request.

        Args:
            request: The request.

        Yields:
            Pieces of text as they come, `ChatRestarted` when the text starts again, and the answer at the end.

        Raises:
            ChatError: No node gave an answer that fits.
            ClusterError: No node worked for the cluster's `give_up_after`, or the dispatcher was closed.
        """
        events: queue.SimpleQueue[ChatEvent | None] = queue.SimpleQueue()
        job = self._submit([request], urgent=True, tell=events.put)
        job.future.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                yield event
            yield _answer(job.future)
        finally:
            self._engine.cancel(job)

    async def astream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """`stream`, for async code in any event loop."""
        events: asyncio.Queue[ChatEvent | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(event: ChatEvent | None) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        job = self._submit([request], urgent=True, tell=tell)
        job.future.add_done_callback(lambda _: tell(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield _answer(job.future)
        finally:
            self._engine.cancel(job)

    def stats(self, *, spans: bool = False) -> DispatchStats:
        """Return the statistics so far, where a text is an answer; `spans` adds the last requests one by one."""
        return self._engine.stats(spans=spans)

    def close(self) -> None:
        """Cancel what is in flight and close all connections. Waiting callers get a ClusterError."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(
        self,
        requests: Sequence[ChatRequest],
        *,
        urgent: bool,
        tell: Callable[[Any], None] | None = None,
        avoid: frozenset[str] = frozenset(),
    ) -> ChatJob:
        tokens = self._kind.answer_tokens
        job = ChatJob(list(requests), urgent=urgent, answer_tokens=tokens, tell=tell, avoid=avoid)
        self._engine.submit(job)
        return job


def _answer(future: Future[ChatAnswers]) -> ChatAnswer:
    found = future.result()
    if found.failures:
        raise found.failures[0]
    answer = found.answers[0]
    assert answer is not None
    return answer
