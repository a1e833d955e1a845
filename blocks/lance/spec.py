"""Where a table is, and what makes its vectors comparable. Pure values; nothing here opens anything."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.file_url import folder_of, is_file_url
from prefect_ollama.blocks.sealed import Sealed, seal
from prefect_ollama.blocks.wire.fingerprint import Fingerprint
from prefect_ollama.blocks.wire.spec import full_name

RESERVED = "__"
_NEXT = ".next"

_HARMLESS = re.compile("region|endpoint|allow|timeout|style|retr", re.IGNORECASE)
"""Names of storage options that may show in an error, where they say what is wrong."""


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """Address of a table: it can be pickled and opened again in another process.

    Attributes:
        uri: A local folder, also as a `file:` URL, or the URL of an object store (`s3://…`, `gs://…`, `az://…`).
            A relative path is made absolute, because LanceDB takes names such as `db_x` for its cloud.
        table: Name of the chunk table; two more tables stand beside it under names that begin with it.
        storage_options: Pairs for the object store, among them secrets, so all are sealed and `repr` leaves them
            out. `options` has them as they are.

    Raises:
        ConfigurationError: The table's name is empty, or holds more than letters, digits, `_`, `-`, `.`; or the URI
            is empty, names another host, or is a path of Windows elsewhere.
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
        if not self.remote:
            try:
                folder = Path(folder_of(self.uri)).expanduser().absolute()
            except (ValueError, RuntimeError) as error:
                raise ConfigurationError(
                    f"The table's URI cannot be used: {error}.",
                    state="Nothing was started.",
                    remedy="Give a folder of this host, or an object store's URL.",
                ) from None
            object.__setattr__(self, "uri", str(folder))

    @property
    def remote(self) -> bool:
        """Whether the table is in an object store, and so not a folder of this host."""
        return "://" in self.uri and not is_file_url(self.uri)

    @property
    def options(self) -> dict[str, str]:
        """The storage options as the object store takes them."""
        return {name: value.get_secret_value() for name, value in self.storage_options}

    @property
    def documents_table(self) -> str:
        """Name of the manifest, one row a document."""
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
    def beside(self) -> StoreSpec:
        """Where the table is built that is to replace this one."""
        return replace(self, table=f"{self.table}{_NEXT}")

    @property
    def is_beside(self) -> bool:
        """Whether this is such a place, whose table nobody reads yet."""
        return self.table.endswith(_NEXT)

    def __str__(self) -> str:
        return f"{self.uri}/{self.table}"


CONTEXT = "num_ctx"
CONTEXT_SOURCE = "num_ctx_from"
NODES = "nodes"
_OWN_VERSION = re.compile(r"^v\d+ ")
"""The chunker's version before its options, as tables of earlier versions have it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two vectors comparable; a table holds vectors of one identity only.

    Attributes:
        model: Name of the model, for people: the fingerprint decides.
        digest: Digest of the model's weights, for people too. It decides where a table has no fingerprint yet.
        dimension: Floats in a vector.
        document_prefix: Prompt put before each chunk.
        query_prefix: Prompt put before each question.
        options: Options that change vectors (`num_ctx`), as sorted pairs; empty where they are not known.
            `num_ctx_from` is `nodes` where nobody chose the context and it followed the nodes'.
        chunker: Options of the chunker. Its version is not compared: each document has its own. Tables of earlier
            versions have it before the options (`v2 target=…`).
        fingerprint: Canary vectors of the model; None in a table of an earlier version.
    """

    model: str
    digest: str
    dimension: int
    document_prefix: str = ""
    query_prefix: str = ""
    options: tuple[tuple[str, str], ...] = ()
    chunker: str = ""
    fingerprint: Fingerprint | None = None

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise ConfigurationError(f"A vector cannot have {self.dimension} dimensions.")
        object.__setattr__(self, "options", tuple(sorted((str(k), str(v)) for k, v in self.options)))

    @property
    def chosen_context(self) -> int | None:
        """The context in tokens that the user chose when the table was made; None if nobody did."""
        options = dict(self.options)
        return None if CONTEXT not in options or CONTEXT_SOURCE in options else int(options[CONTEXT])

    def differences(self, other: Identity) -> dict[str, tuple[Any, Any]]:
        """Return what differs, field by field, as (mine, other's).

        Where both have a fingerprint it decides, and name and digest are no difference by themselves. Where one has
        none, the digest decides, and the name if there is no digest.
        """
        differing = {
            each.name: (getattr(self, each.name), getattr(other, each.name))
            for each in fields(self)
            if getattr(self, each.name) != getattr(other, each.name)
        }
        if self.fingerprint is None or other.fingerprint is None:
            differing.pop("fingerprint", None)
            if (self.digest and "digest" not in differing) or full_name(self.model) == full_name(other.model):
                differing.pop("model", None)
        elif "fingerprint" not in differing:
            differing.pop("digest", None)
            differing.pop("model", None)
        elif full_name(self.model) == full_name(other.model):
            differing.pop("model", None)
        if same_cut(self.chunker, other.chunker):
            differing.pop("chunker", None)
        if "options" in differing and same_options(self.options, other.options):
            del differing["options"]
        return differing

    def to_json(self) -> str:
        """Return the identity as JSON, keys in order, without the fingerprint."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "fingerprint"}
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Identity:
        """Return the identity that `to_json` wrote."""
        values = json.loads(text)
        values["options"] = tuple((name, value) for name, value in values["options"])
        return cls(**values)


def context_options(chosen: int | None, settled: int | None) -> tuple[tuple[str, str], ...]:
    """Return the options of an identity for a context in tokens.

    Args:
        chosen: What the user asked for.
        settled: What nodes are asked for: the shortest of their contexts where the user chose none.
    """
    if chosen is not None:
        return ((CONTEXT, str(chosen)),)
    return () if settled is None else ((CONTEXT, str(settled)), (CONTEXT_SOURCE, NODES))


def same_cut(one: str, other: str) -> bool:
    """Return whether two chunkers have the same options, whatever their versions."""
    return _OWN_VERSION.sub("", one) == _OWN_VERSION.sub("", other)


def same_options(one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...]) -> bool:
    """Return whether vectors made with one set of options compare with those of the other.

    A context that was chosen has to stay. One that followed the nodes may change with them, or the table could not be
    used any more after a node came or went: no text is cut to it, and a text that is too long for it has no vector.
    """
    mine, others = dict(one), dict(other)
    contexts = mine.pop(CONTEXT, None), others.pop(CONTEXT, None)
    followed = mine.pop(CONTEXT_SOURCE, None), others.pop(CONTEXT_SOURCE, None)
    return mine == others and (None in contexts or contexts[0] == contexts[1] or followed == (NODES, NODES))
