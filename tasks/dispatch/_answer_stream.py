"""The stream of one answer to its caller, while nodes may fail and others repeat the request."""

from __future__ import annotations

from collections.abc import Callable

from prefect_ollama.tasks.dispatch.chat import ChatEvent, ChatRestarted, ChatText

Tell = Callable[[ChatEvent], None]


class AnswerStream:
    """Passes on the pieces of one attempt at a time.

    Guarantees: the pieces after the last `ChatRestarted` are the beginning of the final answer, and all of it once the
    answer is complete.

    Args:
        tell: Called with each event.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._leader: Attempt | None = None
        self._told = False

    def heard(self, attempt: Attempt, piece: str) -> None:
        """Take a piece that an attempt has added to its text."""
        if self._leader is None:
            self._lead(attempt, attempt.text)
        elif self._leader is attempt:
            self._tell(ChatText(piece))

    def failed(self, attempt: Attempt) -> None:
        """Note that an attempt failed. The stream then restarts with the text of the next attempt."""
        if self._leader is attempt:
            self._leader = None

    def finish(self, attempt: Attempt, text: str) -> None:
        """Pass on the rest of the final answer.

        Args:
            attempt: The attempt that succeeded.
            text: The whole answer.
        """
        if self._leader is not attempt or attempt.text != text:
            self._lead(attempt, text)

    def _lead(self, attempt: Attempt, text: str) -> None:
        if self._told:
            self._tell(ChatRestarted())
        self._leader, self._told = attempt, bool(text)
        if text:
            self._tell(ChatText(text))


class Attempt:
    """One node's work on one request.

    Args:
        stream: Receives the pieces; None if the caller does not stream.
    """

    def __init__(self, stream: AnswerStream | None) -> None:
        self._stream = stream
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def heard(self, piece: str) -> None:
        """Take in a piece."""
        if self._stream is not None and piece:
            self._pieces.append(piece)
            self._stream.heard(self, piece)

    def failed(self) -> None:
        """Note that it failed."""
        if self._stream is not None:
            self._stream.failed(self)

    def finish(self, text: str) -> None:
        """Note that it succeeded; `text` is the whole answer."""
        if self._stream is not None:
            self._stream.finish(self, text)
