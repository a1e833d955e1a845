"""The address of a table. A pure value; nothing here opens anything."""

import re
from dataclasses import dataclass, field, replace
from typing import Self

from pydantic import SecretStr

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.secrets import Sealed, seal
from prefect_ollama.blocks.user_path import absolute_place, is_file_url

# Between the name of a table and the kind of the tables that belong to it, so it may not be in a table's name.
RESERVED = "__"

# Suffix of the staging table, in which all documents are embedded again.
_NEXT = ".next"

# Names of storage options whose values errors may show: they are not secret, and often the cause.
_HARMLESS = re.compile("region|endpoint|allow|timeout|style|retr", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """Address of a table: it can be pickled and opened again in another process.

    Attributes:
        uri: A local folder, also as a `file:` URL, or the URL of an object store (`s3://…`, `gs://…`, `az://…`).
            A relative path is made absolute, because LanceDB takes names such as `db_x` for its cloud.
        table: Name of the chunk table; the names of the two other tables begin with it.
        storage_options: Names and values for the object store. Some of the options are secrets, so all are replaced by
            tickets in pickles, and `repr` omits them. `options` returns the plain values.

    Raises:
        ConfigurationError: The table's name is empty, or has characters other than letters, digits, `_`, `-`, `.`; or
            the URI is empty, names another host, or is a Windows path on another system.
    """

    uri: str
    table: str = "chunks"
    storage_options: tuple[tuple[str, SecretStr], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        plain = self.table.replace("_", "a").replace("-", "a").replace(".", "a")
        if not (plain.isascii() and plain.isalnum()) or RESERVED in self.table or self.table[0] in ".-":
            raise ConfigurationError(
                f"Table name {self.table!r} cannot be used.",
                remedy="Use ASCII letters, digits, '_', '-' and '.', begin with a letter, digit or '_', and "
                f"leave out {RESERVED!r}, which marks the tables beside it.",
            )
        if not self.uri:
            raise ConfigurationError(
                "The table has no URI.", remedy="Give a folder or an object store's URL."
            )
        sealed = (
            (name, Sealed(value) if _HARMLESS.search(name) else seal(value))
            for name, value in self.storage_options
        )
        object.__setattr__(self, "storage_options", tuple(sealed))
        object.__setattr__(self, "uri", absolute_place(self.uri))

    @property
    def remote(self) -> bool:
        """Whether the table is in an object store, and so not a folder of this host."""
        return "://" in self.uri and not is_file_url(self.uri)

    @property
    def options(self) -> dict[str, str]:
        """The storage options with their plain values."""
        return {name: value.get_secret_value() for name, value in self.storage_options}

    @property
    def documents_table(self) -> str:
        """Name of the manifest, which has one row for each document."""
        return f"{self.table}{RESERVED}documents"

    @property
    def runs_table(self) -> str:
        """Name of the table of runs."""
        return f"{self.table}{RESERVED}runs"

    @property
    def tables(self) -> tuple[str, str, str]:
        """Names of the chunk table, the manifest and the table of runs."""
        return self.table, self.documents_table, self.runs_table

    @property
    def staging(self) -> Self:
        """The table in which a replacement of this one is built."""
        return replace(self, table=f"{self.table}{_NEXT}")

    @property
    def is_staging(self) -> bool:
        """Whether this is a staging table, which has no readers yet."""
        return self.table.endswith(_NEXT)

    def __str__(self) -> str:
        return f"{self.uri}/{self.table}"
