"""The block `LanceTable`: the address of a table."""

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from prefect.types import SecretDict
from pydantic import Field, HttpUrl, SecretStr, field_validator

from prefect_ollama.blocks.base import Secrets, StoredBlock, refuse_mask
from prefect_ollama.blocks.errors import ConfigurationError, TableError
from prefect_ollama.blocks.lance import StoreSpec, open_tables, refuse_unwritable
from prefect_ollama.blocks.resolve import DEFAULT_TABLE
from prefect_ollama.blocks.secrets import without_secrets
from prefect_ollama.blocks.user_path import folder_of, is_file_url, with_home

# Schemes of object stores that LanceDB supports.
_SCHEMES = ("s3", "s3+ddb", "gs", "az", "abfss", "oss")


@dataclass(frozen=True, slots=True)
class TableCheck:
    """The result of a check of a table's address.

    Attributes:
        uri: Folder or URL of the database.
        table: Name of the table.
        ok: Whether the table can be read or, if it does not exist yet, be made there.
        exists: Whether the table exists.
        rows: Number of chunks.
        documents: Number of documents in its manifest.
        versions: Number of versions that are kept.
        size: Bytes of its newest version.
        error: Cause and remedy if it is not ok, otherwise empty.
    """

    uri: str
    table: str
    ok: bool
    exists: bool = False
    rows: int = 0
    documents: int = 0
    versions: int = 0
    size: int = 0
    error: str = ""


class LanceTable(StoredBlock):
    """A LanceDB table with chunks, their vectors, and their documents.

    Example:
        ```python
        from prefect_ollama.blocks import LanceTable

        LanceTable(uri="/data/lancedb", table="papers").save("papers")

        table = LanceTable.load("BLOCK_NAME")
        print(table.check())
        ```
    """

    _block_type_name: ClassVar[str | None] = "Lance Table"
    _block_type_slug: ClassVar[str | None] = "lance-table"
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl("https://github.com/lancedb.png?size=200")
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.lancedb.com/")

    uri: str = Field(
        min_length=1,
        title="Folder or URL",
        description="Folder of the database (an absolute path or a file: URL), or URL of an object store: s3://, gs:// "
        "or az:// with bucket and path.",
        examples=["/data/lancedb", "s3://our-bucket/lancedb"],
    )
    table: str = Field(
        default=DEFAULT_TABLE,
        title="Table",
        description="Name of the table in the database: letters, digits, '_', '-' and '.'.",
        examples=["documents", "papers"],
        json_schema_extra={"pattern": r"^(?!.*__)[A-Za-z0-9_][A-Za-z0-9_.-]*$"},
    )
    storage_options: Secrets = Field(
        default_factory=lambda: SecretDict({}),
        title="Storage options",
        description='Keys, region and endpoint of the object store, as JSON: {"region": "…"}. The values are kept '
        "secret. By default the values of the environment are used.",
        examples=[{"region": "eu-central-1", "access_key_id": "…", "secret_access_key": "…"}],
    )

    @field_validator("uri", mode="after")
    @classmethod
    def _place(cls, value: str) -> str:
        value = value.strip()
        if is_file_url(value):
            return folder_of(value)
        scheme, mark, rest = value.partition("://")
        if not mark:
            if not with_home(folder_of(value)).is_absolute():
                raise ValueError(
                    "write an absolute path; a relative path means another folder in every process"
                )
            return value
        if scheme not in _SCHEMES:
            raise ValueError(f"{scheme}:// is not supported; write a folder, or s3://, gs:// or az://")
        # In an `abfss://` URL the part before `@` is the container.
        if "@" in rest.split("/", 1)[0] and not scheme.startswith("abfs"):
            raise ValueError("the URL must hold no credentials; put them into the storage options")
        if not rest.strip("/"):
            raise ValueError("the URL names no bucket")
        return value

    @field_validator("table", mode="after")
    @classmethod
    def _table_name(cls, value: str) -> str:
        try:
            return StoreSpec("/", value).table
        except ConfigurationError as error:
            raise ValueError(f"{error.cause} {error.remedy}".rstrip(".")) from None

    @field_validator("storage_options", mode="after")
    @classmethod
    def _texts(cls, value: SecretDict) -> SecretDict:
        texts = {}
        for name, content in value.get_secret_value().items():
            if isinstance(content, dict | list) or content is None:
                raise ValueError(f"the option {name!r} must be a text")
            # LanceDB accepts texts only, and JSON also has numbers and booleans.
            texts[name] = str(content).lower() if isinstance(content, bool) else str(content)
            refuse_mask(texts[name])
        return SecretDict(texts)

    def to_spec(self) -> StoreSpec:
        """Return the address as a plain value."""
        # Sorted, so that the order of options makes no other address.
        options = sorted(self.storage_options.get_secret_value().items())
        return StoreSpec(self.uri, self.table, tuple((name, SecretStr(value)) for name, value in options))

    def check(self) -> TableCheck:
        """Check the table. A place that cannot be reached is a result, not an exception.

        In async code use `await acheck()`.
        """
        spec = self.to_spec()
        try:
            return _check_tables(spec)
        # LanceDB has several types of errors, and texts of object stores may repeat keys.
        except (TableError, RuntimeError, ValueError, OSError) as error:
            return TableCheck(spec.uri, spec.table, ok=False, error=without_secrets(str(error)))

    async def acheck(self) -> TableCheck:
        """Check the table; see `check`."""
        return await asyncio.to_thread(self.check)


def _check_tables(spec: StoreSpec) -> TableCheck:
    tables = open_tables(spec)
    if tables is None:
        refuse_unwritable(spec)
        return TableCheck(spec.uri, spec.table, ok=True)
    chunks, documents, _ = tables
    return TableCheck(
        spec.uri,
        spec.table,
        ok=True,
        exists=True,
        rows=int(chunks.count_rows()),
        documents=int(documents.count_rows()),
        versions=len(chunks.list_versions()),
        size=int(chunks.stats()["total_bytes"]),
    )
