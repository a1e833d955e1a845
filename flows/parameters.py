"""Parameters that several flows take, with the title and help that Prefect's form shows.

Whatever is wrong with a value alone, or with two of one group, is said before the flow starts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from prefect.blocks.system import Secret
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from prefect_ollama.blocks.cluster import OllamaCluster
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.file_url import folder_of, is_file_url
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.node_settings import NodeBlock
from prefect_ollama.blocks.nodes import looks_like_address, names_block
from prefect_ollama.blocks.openai_node import OpenAICompatibleNode
from prefect_ollama.blocks.resolve import Nodes
from prefect_ollama.blocks.secrets import seal
from prefect_ollama.blocks.table import LanceTable
from prefect_ollama.tasks.chunking import ChunkOptions
from prefect_ollama.tasks.parsing import ParseOptions
from prefect_ollama.tasks.researching import Bounds
from prefect_ollama.tasks.searching import Filter


def shown(title: str, description: str, **limits: Any) -> Any:
    """Field of a flow's parameter, whose title and help the form shows.

    Prefect takes a parameter's name for its title and looks for its help in the docstring alone, but adds what
    stands in `json_schema_extra` last.

    Args:
        title: Above the field.
        description: Its help.
        limits: As for pydantic's `Field`.
    """
    return Field(**limits, json_schema_extra={"title": title, "description": description})


def _as_text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [os.fspath(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def as_source(value: Any) -> Any:
    """Return a source as flows take it: paths as texts, and `file:` URLs as paths."""
    value = _as_text(value)
    if isinstance(value, list):
        return [folder_of(each) if isinstance(each, str) and is_file_url(each) else each for each in value]
    return folder_of(value) if isinstance(value, str) and is_file_url(value) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, NodeBlock) else value


# A parameter of several types is a row of tabs in the form, and so is each item of a list of several types; the title
# of each tab says what it is for. (Prefect's first UI shows such items as JSON.)
SourceParameter = Annotated[
    Annotated[str, Field(min_length=1, title="Folder or pattern")]
    | Annotated[list[str], Field(min_length=1, title="Files")],
    BeforeValidator(as_source),
    shown(
        "Source",
        "Folder with PDFs and subfolders, a glob pattern such as `papers/**/*.pdf`, or a list of files. "
        "`@FILE` names a file with such a list, one path on each line.",
    ),
]
NodesParameter = Annotated[
    Annotated[OllamaCluster, Field(title="Cluster")]
    | Annotated[str, Field(min_length=1, title="Name or URL")]
    | Annotated[
        Sequence[
            Annotated[OllamaNode, Field(title="Node")]
            # Not in the form: it takes every picked block for one of the first type that it offers.
            | SkipJsonSchema[OpenAICompatibleNode]
            | Annotated[str, Field(title="Name or URL")]
        ],
        Field(min_length=1, title="Several nodes"),
    ]
    | Annotated[None, Field(title="Default")],
    BeforeValidator(_as_list),
    shown(
        "Cluster",
        "The nodes that embed: a cluster block or its name; or URLs and names of node blocks. A URL that ends in /v1 "
        "names a server of the OpenAI API. By default the node that OLLAMA_HOST names, otherwise an Ollama on this "
        "host, otherwise the embedded model.",
    ),
]
TableParameter = Annotated[
    Annotated[LanceTable, Field(title="Table")]
    | Annotated[str, Field(min_length=1, title="Name or folder")]
    | Annotated[None, Field(title="Default")],
    BeforeValidator(_as_text),
    shown(
        "Table",
        "A table block; or the name of a table in `lancedb` in Prefect's home, a folder (with a slash in it) or an "
        "object store's URL, or `block:NAME` for a saved block. By default `documents` in `lancedb` in Prefect's home.",
    ),
]
ExcludeParameter = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    shown(
        "Exclude",
        "Patterns of files and folders to exclude, as in a `.gitignore`: `drafts/`, `*-old.pdf`, `/2019/**`. "
        "Excluded documents of a folder are removed from the table. Hidden files are always excluded.",
    ),
]
ModelParameter = Annotated[
    Annotated[str, Field(min_length=1, title="Name")] | Annotated[None, Field(title="Default")],
    shown(
        "Model", "Embedding model, by Ollama's name. By default the table's model, otherwise the cluster's."
    ),
]


ChatModelParameter = Annotated[
    Annotated[str, Field(min_length=1, title="Name")] | Annotated[None, Field(title="Default")],
    shown(
        "Chat model",
        "Model that answers, by Ollama's name. Without: the cluster's own; without one, the answer is sentences of "
        "the documents.",
    ),
]
OtherChatModelsParameter = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    shown(
        "Other chat models",
        "Models that answer on nodes without the chat model; each node uses the first one that it has. Empty: those "
        "of the cluster.",
    ),
]
JudgeModelParameter = Annotated[
    Annotated[str, Field(min_length=1, title="Name")] | Annotated[None, Field(title="Default")],
    shown(
        "Judge model",
        "Model that judges whether quotes prove a sentence, by Ollama's name; it may be the chat model. Without: "
        "the cluster's own; without one, shared words and embeddings decide.",
    ),
]
PassageSourceParameter = Annotated[
    Annotated[str, Field(min_length=1, title="Name")] | Annotated[None, Field(title="All")],
    shown("Source", "Only documents of this source, as the report names it."),
]
FileParameter = Annotated[
    Annotated[str, Field(min_length=1, title="File")] | Annotated[None, Field(title="None")],
    BeforeValidator(_as_text),
    shown(
        "File",
        "Markdown file on the machine that runs it, into which the report is written; an existing one is replaced.",
    ),
]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        # Here and not in the task, so that the form shows the error before the run starts.
        try:
            self.to_options()
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return self

    def to_options(self) -> Any:
        """What the machinery works with, for those groups that it has options for."""


def _of_secret(value: Any) -> Any:
    return SecretStr(str(value.value.get_secret_value())) if isinstance(value, Secret) else value


class Password(BaseModel):
    """A password for encrypted files."""

    model_config = ConfigDict(extra="forbid")

    pattern: str = Field(
        "*",
        title="Pattern",
        description="Glob pattern of the files with this password, such as `bank/*.pdf`.",
    )
    # Sealed, so that it crosses Dask as a ticket and no task graph holds it.
    password: Annotated[
        SecretStr,
        BeforeValidator(_of_secret),
        AfterValidator(seal),
        WithJsonSchema(
            {
                "anyOf": [
                    {
                        "title": "Secret block",
                        "type": "object",
                        "block_type_slug": Secret.get_block_type_slug(),
                    },
                    {"title": "Written here", "type": "string", "format": "password"},
                ]
            }
        ),
    ] = Field(
        title="Password",
        description="It is tried on each encrypted file that matches the pattern. Everybody who can see the run in "
        "Prefect can read a password that is written here; a Secret block hides it.",
    )


class Reading(_Options):
    """How files are read, and the limits of each file."""

    ocr: Literal["auto", "off"] = Field(
        "auto",
        title="OCR",
        description="Read pages that are pictures of text: `auto`, or `off` to report them only.",
    )
    ocr_languages: list[str] = Field(
        ["eng"], title="OCR languages", description="Tesseract's names of the languages on such pages."
    )
    ocr_dpi: int = Field(150, ge=50, le=600, title="OCR resolution", description="Dots per inch for OCR.")
    running_heads: Literal["drop", "keep"] = Field(
        "drop",
        title="Running heads",
        description="Running heads, feet and page numbers that repeat from page to page: `drop` removes them and lists "
        "them in the report, `keep` stores them with every page.",
    )
    passwords: list[Password] = Field([], title="Passwords", description="For encrypted files.")
    allow_partial: bool = Field(
        False,
        title="Allow partial documents",
        description="Keep the pages that were read before a limit stopped the parser.",
    )
    memory_mb: int = Field(1024, gt=0, title="Memory", description="MiB of memory for one file.")
    cpu_seconds: float = Field(
        60, gt=0, title="CPU time", description="Seconds of CPU time for one file, without OCR."
    )
    wall_seconds: float = Field(
        180, gt=0, title="Wall time", description="Seconds by the clock for one file, without OCR."
    )
    max_pages: int = Field(50_000, gt=0, title="Max pages", description="Pages that one file may have.")
    output_mb: int = Field(
        256, gt=0, title="Max text", description="MiB of text with its positions that one file may yield."
    )
    ocr_max_pages: int = Field(
        200, ge=0, title="OCR pages", description="Pages of one file that are read by OCR at most."
    )
    ocr_seconds: float = Field(600, gt=0, title="OCR time", description="Seconds of OCR for one file.")
    tables: bool = Field(True, title="Tables", description="Read tables as tables, and not as running text.")
    tessdata: str = Field(
        "",
        title="Tesseract data",
        description="Folder with Tesseract's language data on the machines that parse. Without: the usual places.",
    )

    def to_options(self) -> ParseOptions:
        """The parser's options."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        given["ocr_languages"] = tuple(self.ocr_languages)
        given["passwords"] = tuple((each.pattern, each.password) for each in self.passwords)
        given["tessdata"] = Path(self.tessdata) if self.tessdata else None
        return ParseOptions(**given)


class Chunking(_Options):
    """Sizes of chunks, in the model's tokens. Other sizes need another table."""

    target_tokens: int = Field(
        200, ge=16, title="Target tokens", description="Mean number of tokens in a chunk."
    )
    max_tokens: int = Field(
        256, ge=16, title="Max tokens", description="Highest number of tokens in a chunk."
    )
    overlap_tokens: int = Field(
        30,
        ge=0,
        title="Overlap tokens",
        description="Highest number of tokens of the last sentences that the next chunk repeats.",
    )
    min_tokens: int = Field(
        40, ge=0, title="Min tokens", description="A shorter chunk is joined to the next or previous one."
    )
    context_tokens: int = Field(
        48,
        ge=0,
        title="Context tokens",
        description="Tokens, on top of the max, of what is embedded before a chunk and not shown: title of the "
        "document, running heads, headings, title of a table. 0 for none. A table keeps that of its chunks until "
        "it is embedded again.",
    )

    def to_options(self) -> ChunkOptions:
        """The chunker's options."""
        return ChunkOptions(**self.model_dump())


class Advanced(_Options):
    """Options that are rarely set."""

    remove_missing: bool = Field(
        True, title="Remove missing", description="Remove documents from the table whose file is gone."
    )
    allow_empty: bool = Field(
        False, title="Allow empty", description="Allow removing all documents of the source."
    )
    pull: bool = Field(
        False,
        title="Pull",
        description="Nodes without the model may download it, even if the cluster does not allow it.",
    )
    fail_if_files_fail: bool = Field(
        False,
        title="Fail if files fail",
        description="End the run as Failed if a file could not be read or is not stored whole. Without: the run ends "
        "as Completed, and its message says how many files need attention. Either way all the rest is stored.",
    )
    use_cache: bool = Field(
        True,
        title="Use the cache",
        description="Keep vectors in the cache, so that no text is embedded twice.",
    )


class Limits(_Options):
    """How much a research or a summary may take. Where a limit ends it, what was found until then is reported."""

    steps: int = Field(
        60,
        ge=3,
        le=10_000,
        title="Steps",
        description="Calls of chat models at most: each draft, round of judging, round of criticism and text is one.",
    )
    tokens: int = Field(
        200_000,
        ge=1_000,
        le=100_000_000,
        title="Tokens",
        description="Tokens that chat models read and write at most.",
    )
    seconds: float = Field(
        900,
        ge=1,
        le=86_400,
        title="Seconds",
        description="Seconds by the clock at most, from the first step on.",
    )

    def to_options(self) -> Bounds:
        """The limits of a report."""
        return Bounds(self.steps, self.tokens, self.seconds)


class Only(_Options):
    """Conditions for the passages of a search; an empty one sets no condition."""

    documents: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        title="Documents",
        description="Paths (absolute, or within their source), file names, folders or glob patterns.",
    )
    since: Annotated[date, Field(title="Day")] | Annotated[None, Field(title="Any day")] = Field(
        None, title="Since", description="Documents of this day or later, by their metadata or file."
    )
    until: Annotated[date, Field(title="Day")] | Annotated[None, Field(title="Any day")] = Field(
        None, title="Until", description="Documents of this day or earlier."
    )
    first_page: Annotated[int, Field(ge=1, title="Page")] | Annotated[None, Field(title="Any")] = Field(
        None, title="First page", description="Counted from 1."
    )
    last_page: Annotated[int, Field(ge=1, title="Page")] | Annotated[None, Field(title="Any")] = Field(
        None, title="Last page", description="Only passages on these pages are found."
    )
    title: str = Field("", title="Title", description="Documents with this text in their title.")
    author: str = Field("", title="Author", description="Documents with this text in their author.")

    def to_options(self) -> Filter:
        """The filter of a search."""
        return self.to_filter(None)

    def to_filter(self, source: str | None) -> Filter:
        """The filter of a search, in this source alone if it is named."""
        # One of the two may be empty: from a page on, or up to a page.
        pages = (self.first_page or 1, self.last_page or LAST_PAGE)
        return Filter(
            source=source,
            documents=tuple(self.documents),
            since=self.since,
            until=self.until,
            pages=None if self.first_page is None and self.last_page is None else pages,
            title=self.title,
            author=self.author,
        )


# Pages are 32-bit integers in the table.
LAST_PAGE = 2**31 - 1
# Defaults are made once. Prefect shows them in the form, and pydantic copies them.
EVERYTHING = Only()
DEFAULT_READING = Reading()
DEFAULT_CHUNKING = Chunking()
DEFAULT_ADVANCED = Advanced()
DEFAULT_LIMITS = Limits()
NO_MODELS: list[str] = []

BoundsParameter = Annotated[Limits, shown("Limits", "Steps, tokens and seconds at most.")]
ReadingParameter = Annotated[Reading, shown("Reading", "How files are read, and what one file may cost.")]
ChunkingParameter = Annotated[
    Chunking,
    shown(
        "Chunking",
        "How documents are cut into chunks, in the model's tokens. Another cut needs another table, or `re_embed`.",
    ),
]


def has_own_model(cluster: Nodes | None) -> bool:
    """Whether the nodes come with a model of their own, as a cluster block does and plain URLs don't."""
    return isinstance(cluster, OllamaCluster) or (
        isinstance(cluster, str) and not (looks_like_address(cluster) or names_block(cluster))
    )


def display_name(cluster: Any) -> str:
    """What a run over these nodes is named after: a cluster's or node's name, else how many they are.

    Args:
        cluster: The parameter's value, also as Prefect keeps it with a run.
    """
    match cluster:
        case None:
            return "this host"
        case str():
            return cluster
        case OllamaCluster(name=name) if name:
            return name
        case [str(name) | NodeBlock(name=name)] if name:
            return name
        case OllamaCluster(nodes=nodes) | {"nodes": nodes} | [*nodes]:
            return f"{len(nodes)} node" + ("s" if len(nodes) != 1 else "")
    return "a cluster"


def table_display_name(table: Any) -> str:
    """What a run over this table is named after.

    Args:
        table: The parameter's value, also as Prefect keeps it with a run.
    """
    match table:
        case None:
            return "the default table"
        case str():
            return table
        case LanceTable(uri=uri, table=name) | {"uri": str(uri), "table": str(name)}:
            return f"{uri}/{name}"
    return "a table"
