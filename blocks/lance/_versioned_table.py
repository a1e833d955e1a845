"""The base of the chunk table and the manifest: versions, and commits whose errors name the table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance.commits import commit, connect, open_table
from prefect_ollama.blocks.lance.spec import StoreSpec

P = ParamSpec("P")
T = TypeVar("T")


class VersionedTable(ABC):
    """One table of a store.

    Args:
        spec: The store.
        table: The LanceDB table.
    """

    _unchanged: ClassVar[str]
    """The state in the error for a version that was deleted."""

    def __init__(self, spec: StoreSpec, table: Any) -> None:
        self.table = table
        self._spec = spec

    @abstractmethod
    def _name(self) -> str:
        """Return the name of the table in its database."""

    @abstractmethod
    def _called(self) -> str:
        """Return the name of the table in the middle of a sentence, for errors."""

    @property
    def version(self) -> int:
        """The latest version, or the one this is `at`."""
        return int(self.table.version)

    def versions(self) -> set[int]:
        """Return the versions that are kept."""
        return {int(each["version"]) for each in self.table.list_versions()}

    def at(self, version: int) -> Self:
        """Return the table as it was at a version.

        Raises:
            TableError: The version is not kept any more.
        """
        table = open_table(connect(self._spec), self._spec, self._name())
        try:
            assert table is not None
            table.checkout(version)
        except (AssertionError, ValueError, RuntimeError, OSError) as error:
            raise TableError(
                f"Version {version} of {self._called()} is not kept any more.",
                state=self._unchanged,
                remedy="Upkeep keeps old versions for as many days as it is told to.",
            ) from error
        return type(self)(self._spec, table)

    def restore(self, version: int) -> None:
        """Restore an earlier version as the latest one."""
        self._commit(self.table.restore, version)

    def _commit(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        called = self._called()
        return commit(
            f"{called[0].upper()}{called[1:]} cannot be written", lambda: action(*args, **kwargs), self._spec
        )
