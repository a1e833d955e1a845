"""The root of the errors: a message of three parts, which survives pickling."""

import os
from typing import Any, ClassVar

from prefect_ollama.blocks.printable import printable

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

    # A new line from outside could imitate a line of a log.
    lines: ClassVar[bool] = False

    def __init__(self, cause: str, *, state: str = "", remedy: str = "") -> None:
        self.cause, self.state, self.remedy = (
            printable(part, lines=self.lines, longest=MAX_PART_CHARACTERS) for part in (cause, state, remedy)
        )
        super().__init__(" ".join(part for part in (self.cause, self.state, self.remedy) if part))

    # The default would call `__init__` with the whole message as its cause, and lose the other arguments.
    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    cls: type[PrefectOllamaError], args: tuple[Any, ...], state: dict[str, Any]
) -> PrefectOllamaError:
    # Without `__init__`, because the parts of the message are complete and printable already.
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(PrefectOllamaError):
    """A block, an option or a parameter has a value that cannot work; nothing was started.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import ConfigurationError
        >>> try:
        ...     open_corpus("my__table")
        ... except ConfigurationError as error:
        ...     print(error.cause)
        'my__table' names no table: ...
    """


# Caches and locks that only save time catch it, and work goes on without them.
class FolderNotPrivate(ConfigurationError):
    """Other users of the machine can enter a folder that must be private; nothing in it was read.

    Args:
        folder: The folder.
        why: The reason, as the end of a sentence.

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
