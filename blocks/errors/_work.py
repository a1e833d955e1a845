"""Errors of work that no node can do: a text, a chat request, a file, or all that is left."""

from collections.abc import Mapping, Sequence
from typing import Self

from prefect_ollama.blocks.errors._base import PrefectOllamaError
from prefect_ollama.blocks.errors._nodes import NodeError


class TextError(PrefectOllamaError):
    """One text that no node can embed.

    Args:
        text: The text; the message shows its beginning.

    Attributes:
        why: The cause without the text.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import TextError
        >>> with open_corpus("papers", "http://gpu-box:11434") as corpus:
        ...     try:
        ...         corpus.search("tide \\ud800")
        ...     except TextError as error:
        ...         print(error.remedy)
        Decode its source with errors='replace'.
    """

    def __init__(self, cause: str, *, text: str, state: str = "", remedy: str = "") -> None:
        # A text may be a page long, and a message is one line.
        shown = text if len(text) <= 60 else text[:57] + "…"
        super().__init__(f"Text {shown!r}: {cause}", state=state, remedy=remedy)
        # Whole, because callers find the chunks of a failed text by it.
        self.text, self.why = text, cause


# Its own class, because the task that embeds splits such chunks and goes on.
class TextTooLong(TextError):
    """The text is longer than the model's context. It was not cut. Split it and send the parts.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import TextTooLong
        >>> with open_corpus("papers", "http://gpu-box:11434") as corpus:
        ...     try:
        ...         corpus.search("tide " * 50_000)
        ...     except TextTooLong as error:
        ...         print(len(error.text) > 200_000, error.state)
        True It was not cut.
    """


class ChatError(PrefectOllamaError):
    """No node gave a usable answer to a chat request.

    Args:
        request: The end of its last message; the error shows the beginning of it.
        too_long: Whether the request is longer than the model's context.

    Attributes:
        why: The cause without the request.

    Examples:
        >>> import asyncio
        >>> from prefect_ollama.blocks import OllamaCluster
        >>> from prefect_ollama.blocks.errors import ChatError
        >>> from prefect_ollama.blocks.nodes import ChatMessage, ChatRequest, verify_chat
        >>> from prefect_ollama.tasks.dispatch import ChatDispatcher
        >>> cluster = OllamaCluster(nodes=["http://chat-box:11434"], chat_model="gemma3").to_spec()
        >>> request = ChatRequest((ChatMessage("user", "Name a colour."),), format={"type": "object"})
        >>> with ChatDispatcher(asyncio.run(verify_chat(cluster))) as chat:
        ...     answers = chat.ask([request])
        >>> isinstance(answers.failures[0], ChatError), answers.failures[0].request
        (True, 'Name a colour.')
    """

    def __init__(
        self, cause: str, *, request: str, too_long: bool = False, state: str = "", remedy: str = ""
    ) -> None:
        shown = request if len(request) <= 60 else request[:57] + "…"
        super().__init__(f"Chat request {shown!r}: {cause}", state=state, remedy=remedy)
        self.request, self.why = request, cause
        # Answers are then written again from half of the passages: lengths in tokens are estimates.
        self.too_long = too_long


class ClusterError(PrefectOllamaError):
    """The nodes together cannot do the work that is left.

    Args:
        left: Number of texts that remain.
        causes: The error of each node, by its name.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ClusterError
        >>> with open_corpus("papers", "http://down-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except ClusterError as error:
        ...         print(len(error.causes), error.remedy)
        1 Repair at least one node and run again.
    """

    # One line for the cause of each node.
    lines = True

    def __init__(
        self,
        cause: str,
        *,
        left: int = 0,
        causes: Mapping[str, NodeError] | None = None,
        state: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(cause, state=state, remedy=remedy)
        self.left = left
        # A plain dict can be pickled, and some views of mappings cannot.
        self.causes = dict(causes or {})

    @classmethod
    def of_nodes(cls, cause: str, causes: Mapping[str, NodeError], *, state: str) -> Self:
        """Return the error for nodes that all failed, with one line for the cause of each node."""
        lines = "\n".join(f"  {error}" for error in causes.values())
        remedy = "Repair at least one node and run again."
        return cls(f"{cause}:\n{lines}", causes=causes, state=state, remedy=remedy)


class DocumentError(PrefectOllamaError):
    """One file cannot be read. `kind` is a short stable word for reports ("encrypted", "junk", …).

    Examples:
        >>> from pathlib import Path
        >>> from prefect_ollama.blocks.errors import DocumentError
        >>> from prefect_ollama.tasks.parsing import ParseOptions, Parser
        >>> with Parser() as parser:
        ...     try:
        ...         parser.parse(Path("mixed/notes.pdf"), ParseOptions())
        ...     except DocumentError as error:
        ...         print(error.kind)
        not-a-pdf
    """

    def __init__(self, cause: str, *, path: str, kind: str, state: str = "", remedy: str = "") -> None:
        super().__init__(f"{path!r}: {cause}", state=state, remedy=remedy)
        self.path = path
        self.kind = kind


class DocumentsFailed(PrefectOllamaError):
    """Files of a run are not stored completely, and the run was set to fail then. All other files are stored.

    Args:
        paths: Paths of these files within the source.

    Examples:
        >>> from prefect_ollama.blocks.errors import DocumentsFailed
        >>> from prefect_ollama.flows import Advanced, ingest_pdfs
        >>> try:
        ...     ingest_pdfs("mixed", "http://gpu-box:11434", "mixed", advanced=Advanced(fail_if_files_fail=True))
        ... except DocumentsFailed as error:
        ...     print(error.paths)
        ('notes.pdf',)
    """

    def __init__(self, cause: str, *, paths: Sequence[str], state: str = "", remedy: str = "") -> None:
        super().__init__(cause, state=state, remedy=remedy)
        self.paths = tuple(paths)
