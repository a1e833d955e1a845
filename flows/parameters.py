"""Parameters that several flows take, with the help that the UI and the command line show."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from prefect_ollama.blocks.cluster import OllamaCluster
from prefect_ollama.blocks.table import LanceTable, default_table
from prefect_ollama.blocks.wire.address import looks_like_address
from prefect_ollama.tasks.chunking import ChunkOptions
from prefect_ollama.tasks.parsing import ParseOptions


def _as_text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [os.fspath(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


SourceParameter = Annotated[
    str | list[str],
    BeforeValidator(_as_text),
    Field(
        title="Source",
        description="Folder with PDFs (its folders too), a glob pattern such as `papers/**/*.pdf`, or a list of files.",
    ),
]
NodesParameter = Annotated[
    OllamaCluster | str | list[str] | None,
    Field(
        title="Nodes",
        description="A cluster block or its name; or URLs and names of node blocks. Empty: the node that "
        "OLLAMA_HOST names, else an Ollama on this host, else the embedded model.",
    ),
]
TableParameter = Annotated[
    LanceTable | str | None,
    BeforeValidator(_as_text),
    Field(
        title="Table",
        description="A table block or its name, or a folder (with a slash in it) or an object store's URL. "
        "Empty: the table `documents` in `lancedb` in Prefect's home.",
    ),
]
ModelParameter = Annotated[
    str | None,
    Field(
        title="Model",
        description="Embedding model, by Ollama's name. Empty: the table's own, else the cluster's.",
    ),
]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Password(_Options):
    """A password for encrypted files."""

    pattern: str = Field(
        "*", title="Pattern", description="Glob pattern of the files it is for, such as `bank/*.pdf`."
    )
    password: SecretStr = Field(
        title="Password", description="Tried on each encrypted file that fits the pattern."
    )


class Reading(_Options):
    """How files are read, and what one file may cost."""

    ocr: Literal["auto", "off"] = Field(
        "auto",
        title="OCR",
        description="Read pages that are pictures of text: `auto`, or `off` to report them only.",
    )
    ocr_languages: list[str] = Field(
        ["eng"], title="OCR languages", description="Tesseract's names of the languages on such pages."
    )
    ocr_dpi: int = Field(150, ge=50, le=600, title="OCR resolution", description="Dots per inch for OCR.")
    passwords: list[Password] = Field([], title="Passwords", description="For encrypted files.")
    allow_partial: bool = Field(
        False,
        title="Allow partial documents",
        description="Keep the pages read before a limit stopped the parser.",
    )
    memory_mb: int = Field(1024, gt=0, title="Memory", description="MiB that one file may take.")
    cpu_seconds: float = Field(
        60, gt=0, title="CPU time", description="Seconds of CPU for one file, OCR apart."
    )
    wall_seconds: float = Field(
        180, gt=0, title="Wall time", description="Seconds by the clock for one file, OCR apart."
    )

    def to_options(self) -> ParseOptions:
        """The parser's options."""
        return ParseOptions(
            memory_mb=self.memory_mb,
            cpu_seconds=self.cpu_seconds,
            wall_seconds=self.wall_seconds,
            passwords=tuple((each.pattern, each.password) for each in self.passwords),
            allow_partial=self.allow_partial,
            ocr=self.ocr,
            ocr_languages=tuple(self.ocr_languages),
            ocr_dpi=self.ocr_dpi,
        )


class Chunking(_Options):
    """How documents are cut into chunks, in the model's tokens. Another cut needs another table."""

    target_tokens: int = Field(200, ge=16, title="Target", description="Tokens that a chunk has on average.")
    max_tokens: int = Field(256, ge=16, title="Most", description="Tokens that no chunk exceeds.")
    overlap_tokens: int = Field(
        30,
        ge=0,
        title="Overlap",
        description="Tokens of the last sentences that the next chunk repeats, at most.",
    )
    min_tokens: int = Field(
        40, ge=0, title="Least", description="A shorter chunk is joined to its neighbour."
    )

    def to_options(self) -> ChunkOptions:
        """The chunker's options."""
        return ChunkOptions(**self.model_dump())


def table_of(table: LanceTable | str | None) -> LanceTable:
    """The table block that a parameter means.

    Raises:
        ConfigurationError: There is no block of this name.
    """
    if table is None:
        return default_table()
    return LanceTable.load_named(table) if isinstance(table, str) else table


def names_model(cluster: OllamaCluster | str | list[str] | None) -> bool:
    """Whether the nodes come with a model of their own, as a cluster block does and plain URLs don't."""
    return isinstance(cluster, OllamaCluster) or (
        isinstance(cluster, str) and not looks_like_address(cluster)
    )
