"""Options that several commands take, and what they mean to the flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from prefect_ollama.blocks.errors import ConfigurationError

if TYPE_CHECKING:
    from prefect_ollama.blocks.table import LanceTable

NodesOption = Annotated[
    tuple[str, ...],
    Parameter(
        name=["--node", "-n"],
        show_default=False,
        help="URL of a node, or name of a saved node block; may be given several times. "
        "Without: the node that OLLAMA_HOST names, else an Ollama on this host, else the embedded model.",
    ),
]
ClusterOption = Annotated[str | None, Parameter(help="Name of a saved cluster block, in place of --node.")]
ModelOption = Annotated[
    str | None,
    Parameter(name=["--model", "-m"], help="Embedding model; the table's or the cluster's otherwise."),
]
UriOption = Annotated[
    str | None,
    Parameter(
        help="Folder or object store URL of the table's database; `lancedb` in Prefect's home otherwise."
    ),
]
TableOption = Annotated[
    str | None,
    Parameter(
        help="Name of a table in --uri (or in `lancedb` in Prefect's home); without --uri also a folder or URL (with "
        "a slash in it), or `block:NAME` for a saved table block. `documents` otherwise."
    ),
]
BlockOption = Annotated[
    str | None, Parameter(help="Name of a saved table block, in place of --uri and --table.")
]
PartialOption = Annotated[
    bool, Parameter(negative="", help="Keep the pages read before a limit stopped the parser.")
]
OcrOption = Annotated[bool, Parameter(help="Read pages that are pictures of text.")]
OcrLanguageOption = Annotated[tuple[str, ...], Parameter(help="Tesseract's name of a language on them.")]
RunningHeadsOption = Annotated[
    Literal["drop", "keep"],
    Parameter(
        help="Running heads, feet and page numbers that repeat: `drop` lists them in the report, `keep` stores them."
    ),
]
ExcludeOption = Annotated[
    tuple[str, ...],
    Parameter(
        show_default=False,
        help="Pattern of files or folders to leave out, as in a .gitignore (`drafts/`, `*-old.pdf`); may be given "
        "several times. Hidden files are left out in any case.",
    ),
]
JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


def named_nodes(node: tuple[str, ...], cluster: str | None) -> str | list[str] | None:
    """What the flows take for the nodes that options name.

    Raises:
        ConfigurationError: They name both nodes and a cluster.
    """
    if node and cluster:
        raise ConfigurationError("--node and --cluster are given both.", remedy="Give one of them.")
    return cluster or (list(node) or None)


def named_table(uri: str | None, table: str | None, block: str | None) -> LanceTable:
    """The table that options name.

    Raises:
        ConfigurationError: They name it twice, or it cannot be used, or there is no such block.
    """
    from prefect_ollama.blocks.lance.spec import StoreSpec
    from prefect_ollama.blocks.resolve import BLOCK_PREFIX, is_place, table_of
    from prefect_ollama.blocks.table import DEFAULT_TABLE, LanceTable

    if block is not None:
        if uri is not None or table is not None:
            raise ConfigurationError(
                "--block is given beside --uri or --table.", remedy="Give one or the other."
            )
        return LanceTable.load_named(block)
    if uri is None:
        return table_of(table)
    if table is not None and (is_place(table) or table.startswith(BLOCK_PREFIX)):
        raise ConfigurationError(
            f"--uri and --table both name a place: {uri!r} and {table!r}.",
            remedy="Give the place to --uri and a name to --table, or the place to --table alone.",
        )
    spec = StoreSpec(uri, table or DEFAULT_TABLE)
    return LanceTable.made(uri=spec.uri, table=spec.table)
