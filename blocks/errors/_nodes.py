"""Errors of one request to one node."""

from typing import ClassVar, Literal

from prefect_ollama.blocks.errors._base import PrefectOllamaError


class NodeError(PrefectOllamaError):
    """One node failed on a request. Other nodes can still do the work.

    Args:
        node: Name of the node.
        status: HTTP status, if there was an answer.
        retry_after: Seconds that the node asks clients to wait, if it does.

    Attributes:
        kind: Short stable word for statistics; each class has its own.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ClusterError, NodeError
        >>> with open_corpus("papers", ["http://down-box:11434", "http://locked-box:11434"]) as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except ClusterError as error:
        ...         for cause in error.causes.values():
        ...             print(cause.kind, cause.remedy)
        unreachable Check that it runs and can be reached from here.
        refused Check its token or password.
    """

    # Statistics, events and metrics contain these words, so they must not change.
    kind: ClassVar[str] = "other"

    def __init__(
        self,
        cause: str,
        *,
        node: str,
        status: int | None = None,
        retry_after: float | None = None,
        state: str = "",
        remedy: str = "",
    ) -> None:
        # Errors of several nodes are listed together (`ClusterError.of_nodes`), so each begins with its node.
        super().__init__(f"Node {node!r}: {cause}", state=state, remedy=remedy)
        self.node = node
        self.status = status
        self.retry_after = retry_after


# The dispatcher counts it only half against a text, because the node may be gone for another reason.
class NodeUnreachable(NodeError):
    """No connection, a reset, or no answer in time.

    Args:
        silent: Whether there was a connection, and no answer in time: the node may be stopped, or slow for a moment
            because other programs use its machine.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ClusterError, NodeUnreachable
        >>> with open_corpus("papers", "http://down-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except ClusterError as error:
        ...         (cause,) = error.causes.values()
        >>> isinstance(cause, NodeUnreachable), cause.silent
        (True, False)
    """

    kind = "unreachable"

    def __init__(
        self, cause: str, *, node: str, silent: bool = False, state: str = "", remedy: str = ""
    ) -> None:
        super().__init__(cause, node=node, state=state, remedy=remedy)
        self.silent = silent


# Never the fault of a text, like `NodeRefused`: the dispatcher gives the texts to other nodes and counts no failure.
class NodeBusy(NodeError):
    """The node has no capacity now (503, 429). `retry_after` is the wait in seconds that it asks for.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ClusterError, NodeBusy
        >>> with open_corpus("papers", "http://busy-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except ClusterError as error:
        ...         (cause,) = error.causes.values()
        >>> isinstance(cause, NodeBusy), cause.status, cause.retry_after
        (True, 503, 60.0)
    """

    kind = "busy"


class NodeFailed(NodeError):
    """The node itself failed: a 5xx, or a model process that crashed during the request.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ClusterError, NodeFailed
        >>> with open_corpus("papers", "http://broken-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except ClusterError as error:
        ...         (cause,) = error.causes.values()
        >>> isinstance(cause, NodeFailed), cause.status
        (True, 500)
    """

    kind = "failed"


class NodeRefused(NodeError):
    """The node refuses every request until its configuration is changed (401, 403, 404, a redirect).

    Args:
        model: If its vectors are wrong: digest of the model and version of the server, as the node reports them. While
            both stay the same, its vectors need no new check.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ClusterError, NodeRefused
        >>> with open_corpus("papers", "http://locked-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except ClusterError as error:
        ...         (cause,) = error.causes.values()
        >>> isinstance(cause, NodeRefused), cause.status
        (True, 401)
    """

    kind = "refused"

    def __init__(
        self,
        cause: str,
        *,
        node: str,
        status: int | None = None,
        model: tuple[str, str] | None = None,
        state: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(cause, node=node, status=status, state=state, remedy=remedy)
        # The digest lets probes skip the canaries.
        self.model = model


class NodeAnswerError(NodeError):
    """The answer of the node is invalid, or was proved wrong.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ClusterError, NodeAnswerError
        >>> with open_corpus("papers", "http://proxy-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except ClusterError as error:
        ...         (cause,) = error.causes.values()
        >>> isinstance(cause, NodeAnswerError), cause.remedy
        (True, 'Look at what answers at its URL.')
    """

    kind = "answer"


# Its own class, because it is the fault of the model and not of the node: all nodes have the same model. So the node
# stays in use, and some failures on any nodes are enough to give the request up.
class AnswerRejected(NodeAnswerError):
    """A complete chat answer does not fit the request. Another node or another attempt may succeed.

    Args:
        cut: What cut the answer: "tokens" (the limit of the request), "context", or nothing.

    Examples:
        >>> import pickle
        >>> from prefect_ollama.blocks.errors import AnswerRejected
        >>> error = AnswerRejected("gave an unusable answer: it is no JSON.", node="gpu-box")
        >>> pickle.loads(pickle.dumps(error)).kind  # other processes get it unchanged
        'rejected'
    """

    kind = "rejected"

    def __init__(self, cause: str, *, node: str, cut: Literal["", "tokens", "context"] = "") -> None:
        super().__init__(cause, node=node, status=200)
        # The remedy depends on it.
        self.cut = cut


# A single text that is called too long is given up at once: no node says that by chance.
class InputRejected(NodeError):
    """The node rejects a text of the request, and does not say which. Split the request to find it.

    Args:
        too_long: Whether a text is longer than the model's context.
        most_tokens: Tokens that the node reads of a text, if its message names them.
        most_texts: Texts that the node accepts in a request, if the request has more.

    Examples:
        >>> import asyncio
        >>> from prefect_ollama.blocks.errors import InputRejected
        >>> from prefect_ollama.blocks.nodes import ModelSpec, NodeSpec, open_endpoint
        >>> async def embed(texts):
        ...     node = NodeSpec("gpu-box", "http://gpu-box:11434")
        ...     async with open_endpoint(node, ModelSpec("nomic-embed-text", num_ctx=512)) as endpoint:
        ...         return await endpoint.embed(texts, timeout=60)
        >>> try:
        ...     asyncio.run(embed(["harbour tide", "word " * 5_000]))
        ... except InputRejected as error:
        ...     print(error.too_long)
        True
    """

    kind = "input"

    def __init__(
        self,
        cause: str,
        *,
        node: str,
        status: int | None = None,
        too_long: bool = False,
        most_tokens: int | None = None,
        most_texts: int | None = None,
    ) -> None:
        super().__init__(cause, node=node, status=status)
        self.too_long = too_long
        self.most_tokens = most_tokens
        self.most_texts = most_texts
