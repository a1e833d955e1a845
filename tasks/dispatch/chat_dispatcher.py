"""Chat over all nodes of a cluster, from any thread."""

import queue
from collections.abc import Iterator, Sequence
from pathlib import Path

from prefect_ollama.blocks.nodes import ChatRequest, VerifiedChat
from prefect_ollama.tasks.dispatch._base_dispatcher import BaseDispatcher
from prefect_ollama.tasks.dispatch._chat_job import ChatJob
from prefect_ollama.tasks.dispatch._chat_kind import ChatKind
from prefect_ollama.tasks.dispatch.chat import ChatAnswers, ChatEvent
from prefect_ollama.tasks.dispatch.dispatcher import Dispatcher


class ChatDispatcher(BaseDispatcher):
    """Chats over all nodes of a cluster. Close it, or use it as a context manager.

    Each request goes to the node that is expected to finish it first. If this node dies, fails, or gives an answer that
    does not fit, another node gets the request; see `docs/dispatch.md`.

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
        super().__init__(self._kind, chat.spec, shared_folder, None if beside is None else beside.thread)

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
            ConfigurationError: The format of a request is not a valid JSON schema.
            TimeoutError: The answers took longer than `timeout`.
            ChatUnfinished: No node worked for the cluster's `give_up_after`, or the dispatcher was closed; the answers
                until then are in its `answers`.
            ClusterError: The dispatcher was closed before.
        """
        tokens = self._kind.answer_tokens
        return self.wait_for(ChatJob(requests, urgent=urgent, answer_tokens=tokens, avoid=avoid), timeout)

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
        job = ChatJob([request], urgent=True, answer_tokens=self._kind.answer_tokens, tell=events.put)
        job.future.add_done_callback(lambda _: events.put(None))
        self.submit(job)
        try:
            while (event := events.get()) is not None:
                yield event
            found = job.future.result()
            for error in found.failures.values():
                raise error
            yield from (answer for answer in found.answers if answer is not None)
        finally:
            self.cancel(job)
