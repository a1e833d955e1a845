"""Parameters that several flows take, with the title and help that Prefect's form shows.

An error in one value is reported before the flow starts. Groups of values are in `base/forms.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, InstanceOf
from pydantic.json_schema import SkipJsonSchema

from prefect_ollama.blocks import lance
from prefect_ollama.blocks.cluster import Nodes, OllamaCluster
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.node_block import NodeBlock
from prefect_ollama.blocks.nodes import looks_like_address, names_block
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.table import LanceTable
from prefect_ollama.blocks.user_path import folder_of, is_file_url
from prefect_ollama.flows import base

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def shown(title: str, description: str, **limits: Any) -> Any:
    """Field of a flow's parameter, whose title and help the form shows.

    Prefect takes a parameter's name for its title and looks for its help in the docstring alone, but adds what
    stands in `json_schema_extra` last.

    Args:
        limits: As for pydantic's `Field`.
    """
    return Field(**limits, json_schema_extra={"title": title, "description": description})


def shown_option(options: type[DataclassInstance], name: str) -> Any:
    """Return the field of a parameter that is a field of options of a task (`prefect_ollama.blocks.option`)."""
    (field,) = (each.metadata for each in fields(options) if each.name == name)
    return shown(**{key: value for key, value in field.items() if key != "help"})


# Parameters reach Prefect's API as JSON, which has no paths.
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


# One node block stands for a cluster of one node.
def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, NodeBlock) else value


# The tabs of a name that need not be given.
Name = Annotated[str, Field(min_length=1, title="Name")]
Default = Annotated[None, Field(title="Default")]

# A parameter of several types is a row of tabs in the form, and so is each item of a list of several types; the title
# of each tab says what it is for. (Prefect's first UI shows such items as JSON.)
Source = Annotated[
    Annotated[str, Field(min_length=1, title="Folder or pattern")]
    | Annotated[list[str], Field(min_length=1, title="Files")],
    BeforeValidator(as_source),
    shown(
        "Source",
        "Folder with PDFs and subfolders, a glob pattern such as `papers/**/*.pdf`, or a list of files. "
        "`@FILE` names a file with such a list, one path on each line.",
    ),
]
Cluster = Annotated[
    Annotated[OllamaCluster, Field(title="Cluster")]
    | Annotated[str, Field(min_length=1, title="Name or URL")]
    | Annotated[
        Sequence[
            Annotated[OllamaNode, Field(title="Node")]
            # Not in the form: it takes every picked block for one of the first type that it offers.
            | SkipJsonSchema[InstanceOf[NodeBlock]]
            | Annotated[str, Field(title="Name or URL")]
        ],
        Field(min_length=1, title="Several nodes"),
    ]
    | Default,
    BeforeValidator(_as_list),
    shown(
        "Cluster",
        "The nodes that embed: a cluster block or its name; or URLs and names of node blocks. A URL that ends in /v1 "
        "names a server of the OpenAI API. By default the node that OLLAMA_HOST names, otherwise an Ollama on this "
        "host, otherwise the embedded model.",
    ),
]
Table = Annotated[
    Annotated[LanceTable, Field(title="Table")]
    | Annotated[str, Field(min_length=1, title="Name or folder")]
    | Default,
    BeforeValidator(_as_text),
    shown(
        "Table",
        "A table block; or the name of a table in `lancedb` in Prefect's home, a folder (with a slash in it) or an "
        "object store's URL, or `block:NAME` for a saved block. By default `documents` in `lancedb` in Prefect's home.",
    ),
]
Exclude = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    shown(
        "Exclude",
        "Patterns of files and folders to exclude, as in a `.gitignore`: `drafts/`, `*-old.pdf`, `/2019/**`. "
        "Excluded documents of a folder are removed from the table. Hidden files are always excluded.",
    ),
]
Model = Annotated[
    Name | Default,
    shown(
        "Model",
        "Embedding model, by Ollama's name. By default a search takes the table's. Other flows take the cluster "
        "block's, else the table's, else `nomic-embed-text`, or `all-minilm` if the embedded model is used.",
    ),
]


ChatModel = Annotated[
    Name | Default,
    shown(
        "Chat model",
        "Model that answers, by Ollama's name. By default the cluster's. Without one `ask` shows sentences of "
        "the documents, and `research` and `summarize` are refused.",
    ),
]
OtherChatModels = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    shown(
        "Other chat models",
        "Models that answer on nodes without the chat model; each node uses the first one that it has. By default "
        "those of the cluster.",
    ),
]
JudgeModel = Annotated[
    Name | Default,
    shown(
        "Judge model",
        "Model that judges whether quotes prove a sentence, by Ollama's name; it may be the chat model. By default "
        "the cluster's; without one, shared words and embeddings decide.",
    ),
]
PassageSource = Annotated[
    Name | Annotated[None, Field(title="All")],
    shown("Source", "Only documents of this source, as the report names it."),
]
File = Annotated[
    Annotated[str, Field(min_length=1, title="File")] | Annotated[None, Field(title="None")],
    BeforeValidator(_as_text),
    shown(
        "File",
        "Markdown file on the machine that runs it, into which the report is written; an existing one is replaced.",
    ),
]


# Defaults are made once. Prefect shows them in the form, and pydantic copies them.
EVERYTHING = base.Only()
DEFAULT_READING = base.Reading()
DEFAULT_CHUNKING = base.Chunking()
DEFAULT_ADVANCED = base.Advanced()
DEFAULT_LIMITS = base.Limits()
NO_MODELS: list[str] = []

Question = Annotated[str, shown("Question", "What you want to know.", min_length=1)]
Mode = Annotated[
    lance.Mode,
    shown("Mode", "How passages are searched: `vector` by meaning, `text` by words, `hybrid` by both."),
]
Only = Annotated[base.Only, shown("Only", "Which passages may be found. Without conditions, all may.")]
Limits = Annotated[base.Limits, shown("Limits", "Maximum number of steps, tokens and seconds.")]
Reading = Annotated[base.Reading, shown("Reading", "How files are read, and the limits of each file.")]
Chunking = Annotated[
    base.Chunking,
    shown(
        "Chunking",
        "How documents are cut into chunks, in the model's tokens. Other sizes need another table, or `re_embed`.",
    ),
]


def has_own_model(cluster: Nodes | None) -> bool:
    """Return whether the nodes name a model: a cluster block does, plain URLs do not."""
    # A text that is neither an address nor the name of a node names a cluster block, which has a model.
    return isinstance(cluster, OllamaCluster) or (
        isinstance(cluster, str) and not (looks_like_address(cluster) or names_block(cluster))
    )


def display_name(cluster: Any) -> str:
    """Return how names of runs call these nodes: by the name of the cluster or node, or by their number.

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
        # A dictionary where Prefect kept the block as JSON with the run.
        case OllamaCluster(nodes=nodes) | {"nodes": nodes} | [*nodes]:
            return quantity(len(nodes), "node")
    return "a cluster"


def table_display_name(table: Any) -> str:
    """Return how names of runs call this table.

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
