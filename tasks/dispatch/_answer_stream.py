"""One answer as its caller hears it, though several nodes may be at work on it, and some of them fail."""

from __future__ import annotations

from collections.abc import Callable

from prefect_ollama.tasks.dispatch.chat import ChatEvent, ChatRestarted, ChatText

Tell = Callable[[ChatEvent], None]


class AnswerStream:
    """Hands on the pieces of one attempt at a time.

    Guarantees: the pieces after the last `ChatRestarted` are the beginning of the answer that is given in the end, and
    all of it once the answer is there.

    Args:
        tell: Called with each event.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._leader: Attempt | None = None
        self._told = False

    def heard(self, attempt: Attempt, piece: str) -> None:
        """Take in a piece that an attempt has added to its text."""
        if self._leader is None:
            self._lead(attempt, attempt.text)
        elif self._leader is attempt:
            self._tell(ChatText(piece))

    def failed(self, attempt: Attempt) -> None:
        """Note that an attempt brings no answer; the next one that is heard goes on from its own beginning."""
        if self._leader is attempt:
            self._leader = None

    def finish(self, attempt: Attempt, text: str) -> None:
        """Tell the rest of the answer that counts.

        Args:
            attempt: Whose it is.
            text: All of it.
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
        stream: Where its pieces go; None where nobody listens.
    """

    def __init__(self, stream: AnswerStream | None) -> None:
        self._stream = stream
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self._pieces)

    def heard(self, piece: str) -> None:
        """Take in a piece."""
        if self._stream is not None and piece:
            self._pieces.append(piece)
            self._stream.heard(self, piece)

    def failed(self) -> None:
        """Note that it brings no answer."""
        if self._stream is not None:
            self._stream.failed(self)

    def finish(self, text: str) -> None:
        """Note that its answer counts."""
        if self._stream is not None:
            self._stream.finish(self, text)
