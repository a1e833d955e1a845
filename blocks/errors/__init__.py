"""All errors that this project raises, in one tree.

    PrefectOllamaError
    ├── ConfigurationError        a block, option or parameter cannot work as it is
    │   └── FolderNotPrivate      other users can enter a folder that must be private
    ├── NodeError                 one node failed on a request (other nodes can do the work)
    │   ├── NodeUnreachable       no connection, a reset, or a time-out
    │   ├── NodeBusy              503 or 429, perhaps with a time to wait
    │   ├── NodeFailed            the node itself failed (500, a crashed runner)
    │   ├── NodeRefused           401, 403, 404, a redirect: no retry on this node helps
    │   ├── NodeAnswerError       its answer is invalid or wrong
    │   │   └── AnswerRejected    a complete chat answer does not fit the request
    │   └── InputRejected         it rejects a text of the request (split the request to find it)
    ├── TextError                 one text cannot be embedded by any node
    │   └── TextTooLong           longer than the model's context; split it, do not cut it
    ├── ChatError                 one chat request got no usable answer from any node
    ├── ClusterError              the nodes together cannot do the work that is left
    ├── DocumentError             one file cannot be read (the others are)
    ├── DocumentsFailed           files are not stored completely, and the run was set to fail then
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

from prefect_ollama.blocks.errors._base import ConfigurationError, FolderNotPrivate, PrefectOllamaError
from prefect_ollama.blocks.errors._base import _restore as _restore  # pickles of errors name it
from prefect_ollama.blocks.errors._nodes import (
    AnswerRejected,
    InputRejected,
    NodeAnswerError,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
    NodeUnreachable,
)
from prefect_ollama.blocks.errors._stores import (
    CacheError,
    ModelFilesError,
    ServerLost,
    ServerUnavailable,
    TableDamaged,
    TableError,
    TableMissing,
    TaskRunLost,
)
from prefect_ollama.blocks.errors._work import (
    ChatError,
    ClusterError,
    DocumentError,
    DocumentsFailed,
    TextError,
    TextTooLong,
)

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

# An error is pickled, shown and documented as a member of this package, so its module may change.
for _name in (*__all__, "_restore"):
    globals()[_name].__module__ = __name__
