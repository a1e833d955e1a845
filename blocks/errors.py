"""All errors that this project raises, in one tree.

    PrefectOllamaError
    ├── ConfigurationError        a block, option or parameter cannot work as it is
    │   └── FolderNotPrivate      other users can enter a folder that has to be private
    ├── NodeError                 one node failed on a request (other nodes can do the work)
    │   ├── NodeUnreachable       no connection, reset, time-out
    │   ├── NodeBusy              503 or 429, perhaps with a time to wait
    │   ├── NodeFailed            it answered with a failure of its own (500, a crashed runner)
    │   ├── NodeRefused           401, 403, 404, redirect: no retry on this node will help
    │   ├── NodeAnswerError       its answer is invalid or wrong
    │   │   └── AnswerRejected    a complete chat answer does not fit the request
    │   └── InputRejected         it rejects a text of the request (split the request to find it)
    ├── TextError                 one text cannot be embedded by any node
    │   └── TextTooLong           longer than the model's context; split it, do not cut it
    ├── ChatError                 one chat request got no usable answer from any node
    ├── ClusterError              the nodes together cannot do the work that is left
    ├── DocumentError             one file cannot be read (the others are)
    ├── DocumentsFailed           files are not stored whole, and the run was set to fail then
    ├── TableError                the LanceDB table cannot be read or written
    │   ├── TableMissing          there is no such table (yet)
    │   └── TableDamaged          a part of the table is lost or cannot be read
    ├── CacheError                the vector cache cannot be read or written (the work can go on without it)
    ├── TaskRunLost               the worker of a task run died without reporting its end
    ├── ServerUnavailable         there is no Prefect server (nothing was done)
    ├── ServerLost                Prefect's server stopped and did not come back (the work is done)
    └── ModelFilesError           the embedded model's files are missing or have another content

Each message names the cause, the state and the next step. Names and texts from outside are made printable in it
(`prefect_ollama.blocks.printable`). Errors keep their attributes when they are pickled, because they cross process
borders in Dask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from prefect_ollama.blocks.printable import printable

__all__ = [
    "AnswerRejected",
    "CacheError",
    "ChatError",
    "ClusterError",
    "ConfigurationError",
    "DocumentError",
    "DocumentsFailed",
    "FolderNotPrivate",
    "InputRejected",
    "ModelFilesError",
    "NodeAnswerError",
    "NodeBusy",
    "NodeError",
    "NodeFailed",
    "NodeRefused",
    "NodeUnreachable",
    "PrefectOllamaError",
    "ServerLost",
    "ServerUnavailable",
    "TableDamaged",
    "TableError",
    "TableMissing",
    "TaskRunLost",
    "TextError",
    "TextTooLong",
]

# Characters of each part of a message; a cause may name many nodes or files.
MAX_PART_CHARACTERS = 20_000


class PrefectOllamaError(Exception):
    """Root of the tree.

    Args:
        cause: The cause, in one sentence.
        state: The state after the error ("the 512 chunks stored before stay in the table").
        remedy: The next step.

    Attributes:
        lines: Whether a message of this class may have several lines.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import PrefectOllamaError
        >>> try:
        ...     open_corpus("no-such-table")
        ... except PrefectOllamaError as error:
        ...     print(error.cause, error.remedy, sep="\\n")
        There is no table 'no-such-table' in ...
        ...
    """

    lines: ClassVar[bool] = False

    def __init__(self, cause: str, *, state: str = "", remedy: str = "") -> None:
        self.cause, self.state, self.remedy = (
            printable(part, lines=self.lines, longest=MAX_PART_CHARACTERS) for part in (cause, state, remedy)
        )
        super().__init__(" ".join(part for part in (self.cause, self.state, self.remedy) if part))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    cls: type[PrefectOllamaError], args: tuple[Any, ...], state: dict[str, Any]
) -> PrefectOllamaError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(PrefectOllamaError):
    """A block, an option or a parameter cannot work as it is; nothing was started.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ConfigurationError
        >>> try:
        ...     open_corpus("my__table")
        ... except ConfigurationError as error:
        ...     print(error.cause)
        'my__table' names no table: ...
    """


class FolderNotPrivate(ConfigurationError):
    """Other users of the machine can enter a folder that has to be private; nothing in it was read.

    Args:
        folder: The folder.
        why: What makes it so, as the end of a sentence.

    Examples:
        >>> from pathlib import Path
        >>> from prefect_ollama.blocks.errors import FolderNotPrivate
        >>> from prefect_ollama.blocks.private_files import check_folder
        >>> try:
        ...     check_folder(Path("/srv/shared-cache"))  # others may write to it
        ... except FolderNotPrivate as error:
        ...     print(error.remedy)
        Let it belong to the user that runs this, with mode 0700, or name another folder.
    """

    def __init__(self, folder: os.PathLike[str] | str, why: str) -> None:
        super().__init__(
            f"The folder {str(folder)!r} is not private: {why}.",
            state="Nothing in it was read.",
            remedy="Let it belong to the user that runs this, with mode 0700, or name another folder.",
        )
        self.folder = str(folder)


class NodeError(PrefectOllamaError):
    """One node did not do what was asked. The texts of the request are unharmed and can go elsewhere.

    Args:
        node: Name of the node.
        status: HTTP status, where there was one.
        retry_after: Seconds the node asked to be left alone, where it did.

    Attributes:
        kind: Short stable word for figures; each class has its own.

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
        super().__init__(f"Node {node!r}: {cause}", state=state, remedy=remedy)
        self.node = node
        self.status = status
        self.retry_after = retry_after


class NodeUnreachable(NodeError):
    """No connection, a reset, or no answer in time.

    Args:
        silent: True where the connection stands and no answer came in time: the node may be stopped, or slow for a
            moment because other programs use its machine.

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


class NodeBusy(NodeError):
    """The node has no room now (503, 429); `retry_after` holds its own wish in seconds.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ClusterError, NodeBusy
        >>> with open_corpus("papers", "http://busy-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except ClusterError as error:
        ...         (cause,) = error.causes.values()
        >>> isinstance(cause, NodeBusy), cause.status, cause.retry_after
        (True, 503, 5.0)
    """

    kind = "busy"


class NodeFailed(NodeError):
    """The node answered with a failure of its own: a 5xx, or a runner that crashed under the request.

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
    """The node will go on refusing until someone changes something (401, 403, 404, redirect).

    Args:
        model: Where it was refused for the vectors of its model: digest of the model and version of the server, as the
            node gave them. As long as both stay the same the node need not be asked for vectors again.

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
        self.model = model


class NodeAnswerError(NodeError):
    """The node answered, and what it answered cannot be believed or used.

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


class AnswerRejected(NodeAnswerError):
    """A chat answer came whole and does not fit what was asked. Another node, or another try, may do better.

    Args:
        cut: True where it was cut because it was too long.

    Examples:
        >>> import pickle
        >>> from prefect_ollama.blocks.errors import AnswerRejected
        >>> error = AnswerRejected("gave an unusable answer: it is no JSON.", node="gpu-box")
        >>> pickle.loads(pickle.dumps(error)).kind  # it crosses to other processes as it is
        'rejected'
    """

    kind = "rejected"

    def __init__(self, cause: str, *, node: str, cut: bool = False) -> None:
        super().__init__(cause, node=node, status=200)
        self.cut = cut


class InputRejected(NodeError):
    """The node says that the request's texts are at fault, not which one. Split the request to find it.

    Args:
        too_long: True where a text is longer than the model's context.
        most_tokens: Tokens that the node reads of a text, where its refusal says so.
        most_texts: Texts that the node takes in a request, where it refuses the request for their number.

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


class TextError(PrefectOllamaError):
    """One text that no node can embed.

    Args:
        text: The text, of which the message shows the beginning.

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
        shown = text if len(text) <= 60 else text[:57] + "…"
        super().__init__(f"Text {shown!r}: {cause}", state=state, remedy=remedy)
        self.text = text


class TextTooLong(TextError):
    """The text is longer than the model's context. It was not cut; split it and send the parts.

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
    """One chat request that got no answer as it was asked for, from any node.

    Args:
        request: The end of its last message, of which the message shows the beginning.
        too_long: True where it is longer than the model's context.

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
        self.request = request
        self.too_long = too_long


class ClusterError(PrefectOllamaError):
    """The nodes together cannot do the work that is left.

    Args:
        left: Texts that remain.
        causes: By name of the node, what is wrong with it.

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
        self.causes = dict(causes or {})


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
    """Files of a run are not stored whole, and it was told to fail for them. All the rest of it is done.

    Args:
        paths: These files, by their path within the source.

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


class TableError(PrefectOllamaError):
    """The LanceDB table cannot take or give what was asked.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import TableError
        >>> with open_corpus("papers", "http://other-model-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except TableError as error:
        ...         print(error.state)
        Nothing was searched.
    """


class CacheError(PrefectOllamaError):
    """The vector cache's folder cannot be read or written. Embedding can go on without it.

    Args:
        folder: The folder.

    Examples:
        >>> from prefect_ollama.blocks.cache import CacheSpec, VectorCache
        >>> from prefect_ollama.blocks.errors import CacheError
        >>> try:
        ...     VectorCache(CacheSpec("papers/tides.pdf")).stats()  # a file, and no folder
        ... except CacheError as error:
        ...     print(error.folder.endswith("tides.pdf"))
        True
    """

    def __init__(self, cause: str, *, folder: str, state: str = "", remedy: str = "") -> None:
        super().__init__(f"Vector cache {folder!r}: {cause}", state=state, remedy=remedy)
        self.folder = folder


class TaskRunLost(PrefectOllamaError):
    """A task run ended without a word from the worker that had it; on the server it is `Crashed`.

    Args:
        task_run_id: Id of the Prefect task run.
        task: Name of the task.

    Examples:
        >>> import pickle, uuid
        >>> from prefect_ollama.blocks.errors import TaskRunLost
        >>> error = TaskRunLost("its worker is gone.", task_run_id=uuid.uuid4(), task="parse")
        >>> pickle.loads(pickle.dumps(error)).task  # it crosses to other processes as it is
        'parse'
    """

    def __init__(
        self, cause: str, *, task_run_id: UUID, task: str, state: str = "", remedy: str = ""
    ) -> None:
        super().__init__(f"Task run {task!r} ({task_run_id}): {cause}", state=state, remedy=remedy)
        self.task_run_id = task_run_id
        self.task = task


class ServerUnavailable(PrefectOllamaError):
    """The Prefect server that is named does not answer, or a temporary one cannot start. Nothing was done.

    Examples:
        >>> from prefect.settings import PREFECT_API_URL, temporary_settings
        >>> from prefect_ollama.blocks.errors import ServerUnavailable
        >>> from prefect_ollama.flows import check_nodes
        >>> with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        ...     try:
        ...         check_nodes("http://gpu-box:11434")
        ...     except ServerUnavailable as error:
        ...         print(error.cause)
        Prefect's server at http://127.0.0.1:1/api does not answer ...
    """


class ServerLost(PrefectOllamaError):
    """Prefect's server went away in mid-run and did not come back. What the run did is kept.

    Examples:
        >>> from prefect_ollama.blocks.errors import ServerLost
        >>> from prefect_ollama.flows import ingest_pdfs
        >>> try:
        ...     report = ingest_pdfs("papers", "http://gpu-box:11434", "papers", dry_run=True)
        ... except ServerLost as error:
        ...     print(error.remedy)  # all documents are stored
    """


class TableMissing(TableError):
    """There is no such table (yet).

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import TableMissing
        >>> try:
        ...     open_corpus("no-such-table")
        ... except TableMissing as error:
        ...     print(error.cause)
        There is no table 'no-such-table' in ...
    """


class TableDamaged(TableError):
    """A part of the table is lost or cannot be read. The message names it, and the ways to recover.

    Examples:
        >>> import shutil
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import TableDamaged
        >>> shutil.rmtree("copy/papers__documents.lance")
        >>> try:
        ...     open_corpus("./copy/papers.lance")
        ... except TableDamaged as error:
        ...     print(error.cause)
        A part is lost: its manifest (papers__documents.lance) cannot be found. ...
    """


class ModelFilesError(PrefectOllamaError):
    """The embedded model's files are missing, or are not the ones expected.

    Examples:
        >>> from prefect_ollama.blocks.embedded import EmbeddedNodes
        >>> from prefect_ollama.blocks.errors import ModelFilesError
        >>> try:
        ...     EmbeddedNodes(1, model_dir="papers").__enter__()
        ... except ModelFilesError as error:
        ...     print(error.cause)
        The model folder ... holds no ...
    """
