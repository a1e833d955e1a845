"""The stream of one answer to its caller, while nodes may fail and others repeat the request."""

from __future__ import annotations

from collections.abc import Callable

from prefect_ollama.tasks.dispatch.chat import ChatEvent, ChatRestarted, ChatText

# The pieces that one node has sent. Attempts are compared by identity, because two may have sent the same pieces.
Attempt = list[str]


class AnswerStream:
    """Passes on the pieces of one attempt at a time.

    Guarantees: the pieces after the last `ChatRestarted` are the beginning of the final answer, and all of it once the
    answer is complete.

    Args:
        tell: Called with each event; None if the caller does not stream.
    """

    def __init__(self, tell: Callable[[ChatEvent], None] | None) -> None:
        self._tell = tell or (lambda event: None)
        self._leader: Attempt | None = None
        self._told = False

    def heard(self, attempt: Attempt, piece: str) -> None:
        """Take a piece from the node of an attempt."""
        if not piece:
            return
        attempt.append(piece)
        if self._leader is None:
            self._lead(attempt, "".join(attempt))
        elif self._leader is attempt:
            self._tell(ChatText(piece))

    def failed(self, attempt: Attempt) -> None:
        """Note that an attempt failed. The stream then restarts with the text of the next attempt."""
        if self._leader is attempt:
            self._leader = None

    def finish(self, attempt: Attempt, text: str) -> None:
        """Pass on the rest of the final answer; `text` is the whole answer of the attempt that succeeded."""
        if self._leader is not attempt or "".join(attempt) != text:
            self._lead(attempt, text)

    def _lead(self, attempt: Attempt, text: str) -> None:
        if self._told:
            self._tell(ChatRestarted())
        self._leader, self._told = attempt, bool(text)
        if text:
            self._tell(ChatText(text))
