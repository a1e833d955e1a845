"""The base of the chunk table and the manifest: versions, and commits whose errors name the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance._damage import UNCHANGED
from prefect_ollama.blocks.lance.commits import commit, connect, open_table
from prefect_ollama.blocks.lance.spec import StoreSpec

P = ParamSpec("P")
T = TypeVar("T")


class VersionedTable:
    """One table of a store."""

    # What errors call the table, with the name of the store's chunk table for `{}`.
    called: ClassVar[str] = "table {}"

    def __init__(self, spec: StoreSpec, table: Any) -> None:
        self.table = table
        self._spec = spec
        self._called = self.called.format(repr(spec.table))

    @property
    def version(self) -> int:
        """The latest version, or the one this is `at`."""
        return int(self.table.version)

    def at(self, version: int) -> Self:
        """Return the table as it was at a version; `TableError` if the version is not kept any more."""
        table = open_table(connect(self._spec), self._spec, self.table.name)
        try:
            assert table is not None
            table.checkout(version)
        except (AssertionError, ValueError, RuntimeError, OSError) as error:
            raise TableError(
                f"Version {version} of {self._called} is not kept any more.",
                state=UNCHANGED,
                remedy="Maintenance deletes old versions after seven days, or as many as its option 'keep' says.",
            ) from error
        return type(self)(self._spec, table)

    def restore(self, version: int) -> None:
        self._commit(self.table.restore, version)

    def _commit(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        what = f"{self._called[0].upper()}{self._called[1:]} cannot be written"
        return commit(what, lambda: action(*args, **kwargs), self._spec)
