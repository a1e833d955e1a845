"""Errors of data on the disk: tables, the vector cache, the files of the embedded model."""

from __future__ import annotations

from prefect_ollama.blocks.errors._base import PrefectOllamaError


class TableError(PrefectOllamaError):
    """The LanceDB table cannot be read or written as requested.

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


# Its own class, because a run makes the table then, and only readers fail.
class TableMissing(TableError):
    """The table does not exist (yet).

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


# No `TableError`: runs catch it, warn, and embed without the cache.
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


# Its own class, because the files are also used to count tokens, where an estimate can replace them.
class ModelFilesError(PrefectOllamaError):
    """The files of the embedded model are missing, or have other contents than expected.

    Examples:
        >>> from prefect_ollama.blocks.embedded import EmbeddedNodes
        >>> from prefect_ollama.blocks.errors import ModelFilesError
        >>> try:
        ...     EmbeddedNodes(1, model_dir="papers").__enter__()
        ... except ModelFilesError as error:
        ...     print(error.cause)
        The model folder ... holds no ...
    """
