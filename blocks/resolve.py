"""Resolve what a user names as nodes or table: blocks, names of blocks, addresses, or nothing for the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect.settings import get_current_settings

from prefect_ollama.blocks.by_address import (
    BLOCK_PREFIX,
    ResolvedCluster,
    cluster_by_address,
    is_place,
    place_and_name,
)
from prefect_ollama.blocks.cache import CacheSpec
from prefect_ollama.blocks.cluster import OllamaCluster
from prefect_ollama.blocks.embedding_cluster import DEFAULT_MODEL
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.blocks.node_block import NodeBlock
from prefect_ollama.blocks.nodes import (
    DEFAULT_URL,
    HOST_VARIABLE,
    looks_like_address,
    names_block,
    url_from_environment,
)
from prefect_ollama.blocks.private_files import OTHERS, private_folder
from prefect_ollama.blocks.settings import current_settings
from prefect_ollama.blocks.table import LanceTable, default_table

# The types that flows accept for their nodes.
Nodes = OllamaCluster | NodeBlock | str | Sequence[str | NodeBlock]


def resolve_cluster(cluster: Nodes | None = None, *, model: str | None = None) -> ResolvedCluster:
    """Return the nodes to work with. Saved blocks are loaded; no request is sent to a node.

    Args:
        cluster: A cluster block or its name; a node block or URL; or a list of node blocks, URLs and names of saved
            node blocks. None for the node that `OLLAMA_HOST` names, or an Ollama on this host.
        model: Model to use instead of the cluster's.

    Raises:
        ConfigurationError: A block is missing or invalid, a URL or `OLLAMA_HOST` is no address, or a list is empty.
    """
    if isinstance(cluster, OllamaCluster):
        name = f"cluster {cluster.name!r}" if cluster.name else "the cluster given"
        return ResolvedCluster(_with_model(cluster, model).to_spec(), True, name)
    # A name alone is that of a cluster. It may be meant as a node or a host, so the error says how to write those.
    if isinstance(cluster, str) and not (looks_like_address(cluster) or names_block(cluster)):
        hint = f" If {cluster!r} is a node, name it in a list; if it is a host, write http://{cluster}:11434."
        loaded = OllamaCluster.load_saved(cluster, hint=hint)
        return ResolvedCluster(_with_model(loaded, model).to_spec(), True, f"cluster {cluster!r}")
    # Addresses need no block. What is left are blocks, names of blocks, and mistakes, whose errors the block words.
    if (found := cluster_by_address(cluster, DEFAULT_MODEL if model is None else model)) is not None:
        return found
    entries = [cluster] if isinstance(cluster, str | NodeBlock) else list(cluster or ())
    if cluster is None:
        try:
            entries = [url_from_environment() or DEFAULT_URL]
        except ValueError as error:
            raise ConfigurationError(
                f"{HOST_VARIABLE} cannot be used: {error}.",
                state="Nothing was started.",
                remedy="Correct it, unset it, or name the nodes.",
            ) from None
    if not entries:
        raise ConfigurationError(
            "The list of nodes is empty.",
            state="Nothing was started.",
            remedy="Name a node, or leave the list out to use the Ollama of this host.",
        )
    made = OllamaCluster.made(nodes=entries, model=DEFAULT_MODEL if model is None else model)
    return ResolvedCluster(made.to_spec(), True, "the nodes given")


def resolve_table(table: LanceTable | str | Path | None = None) -> StoreSpec:
    """Return the address of a table, which need not exist yet.

    Args:
        table: A table block, or a text as for `table_of`. None for the table of `default_table`.

    Raises:
        ConfigurationError: There is no such block, its values are invalid, or the text is no folder or URL.
    """
    return (table if isinstance(table, LanceTable) else table_of(table)).to_spec()


def table_of(named: str | Path | None = None) -> LanceTable:
    """Return the table that a text names. Texts mean the same in Python, in forms and on the command line.

    Args:
        named: A name, for the table of this name in the default folder. A folder or an object store's URL, which has a
            slash or backslash, for the table `documents` there; with `.lance` at its end, for the table itself.
            `block:NAME` for the saved table block of this name. None for `default_table`.

    Raises:
        ConfigurationError: There is no such block, its values are invalid, or the text is no folder or URL.
    """
    if named is None:
        return default_table()
    text = str(named).strip()
    if text.startswith(BLOCK_PREFIX):
        return LanceTable.load_saved(text.removeprefix(BLOCK_PREFIX).strip())
    if not (isinstance(named, Path) or is_place(text)):
        try:
            return LanceTable.made(uri=default_table().uri, table=text)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{text!r} names no table: {error.cause}",
                state=error.state,
                remedy=f"If it is a folder, write './{text}'.",
            ) from None
    uri, name = place_and_name(text)
    return LanceTable.made(uri=uri, table=name)


def default_cache() -> CacheSpec:
    """Return the vector cache of the flows on this machine, from the settings.

    Raises:
        ConfigurationError: A setting is invalid.
    """
    settings = current_settings()
    folder = settings.cache_folder or str(get_current_settings().home / "ollama-vectors")
    return CacheSpec(folder, settings.cache_limit_bytes)


def close_home() -> Path | None:
    """Close Prefect's home to other users: it has Prefect's database with all blocks, results, tables and caches.

    Returns:
        The home, if others could enter it before.

    Raises:
        FolderNotPrivate: It belongs to another user.
        OSError: Its rights cannot be changed.
    """
    home = get_current_settings().home.expanduser().absolute()
    open_to_others = home.exists() and home.stat().st_mode & OTHERS
    private_folder(home)
    return home if open_to_others else None


def _with_model(cluster: OllamaCluster, model: str | None) -> OllamaCluster:
    if model is None:
        return cluster
    values = {name: getattr(cluster, name) for name in OllamaCluster.model_fields}
    return OllamaCluster.made(**{**values, "model": model})
