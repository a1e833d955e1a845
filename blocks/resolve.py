"""From whatever a user names as nodes or table to what the machinery works with.

What nobody named is said to be so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect.settings import get_current_settings

from prefect_ollama.blocks.by_address import (
    BLOCK_PREFIX,
    ResolvedCluster,
    is_place,
    limits_folder,
    place_and_name,
)
from prefect_ollama.blocks.cache import CacheSpec
from prefect_ollama.blocks.cluster import DEFAULT_MODEL, OllamaCluster
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.blocks.node_settings import NodeBlock
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

# What flows take for their nodes.
Nodes = OllamaCluster | NodeBlock | str | Sequence[str | NodeBlock]


def resolve_cluster(cluster: Nodes | None = None, *, model: str | None = None) -> ResolvedCluster:
    """Find the nodes to work with. Nothing is asked of them yet; saved blocks are loaded.

    Args:
        cluster: A cluster block or its name; one node block or URL, or several of them and names of saved
            node blocks. None means the node that `OLLAMA_HOST` names, else an Ollama on this host.
        model: Model to use in place of the cluster's.

    Raises:
        ConfigurationError: A block is missing or wrong, a URL or `OLLAMA_HOST` is none, or a list is empty.
    """
    if isinstance(cluster, OllamaCluster):
        name = f"cluster {cluster.name!r}" if cluster.name else "the cluster given"
        return ResolvedCluster(_with_model(cluster, model).to_spec(), True, name)
    if isinstance(cluster, str) and not (looks_like_address(cluster) or names_block(cluster)):
        hint = f" If {cluster!r} is a node, name it in a list; if it is a host, write http://{cluster}:11434."
        loaded = OllamaCluster.load_named(cluster, hint=hint)
        return ResolvedCluster(_with_model(loaded, model).to_spec(), True, f"cluster {cluster!r}")
    if cluster is not None:
        entries = [cluster] if isinstance(cluster, str | NodeBlock) else list(cluster)
        if not entries:
            raise ConfigurationError(
                "The list of nodes is empty.",
                state="Nothing was started.",
                remedy="Name a node, or leave the list out to use the Ollama of this host.",
            )
        return ResolvedCluster(_of_nodes(entries, model).to_spec(), True, "the nodes given")
    try:
        url = url_from_environment()
    except ValueError as error:
        raise ConfigurationError(
            f"{HOST_VARIABLE} cannot be used: {error}.",
            state="Nothing was started.",
            remedy="Correct it, unset it, or name the nodes.",
        ) from None
    if url is not None:
        return ResolvedCluster(_of_nodes([url], model).to_spec(), True, HOST_VARIABLE)
    return ResolvedCluster(_of_nodes([DEFAULT_URL], model).to_spec(), False, "this host")


def resolve_table(table: LanceTable | str | Path | None = None) -> StoreSpec:
    """Find the table to work with; it need not be there yet.

    Args:
        table: A table block; or a text, which means the same in Python, in forms and on the command line, see
            `table_of`. None means the table of `default_table`.

    Raises:
        ConfigurationError: There is no such block, its values are wrong, or the place is none.
    """
    return (table if isinstance(table, LanceTable) else table_of(table)).to_spec()


def table_of(named: str | Path | None = None) -> LanceTable:
    """Return the table that a text names.

    Args:
        named: A name: the table of this name in the default folder. With a slash or backslash in it, a folder or an
            object store's URL: the table `documents` there; one that ends in `.lance` is the table itself.
            `block:NAME`: the saved table block of this name. None: `default_table`.

    Raises:
        ConfigurationError: There is no such block, its values are wrong, or the place is none.
    """
    if named is None:
        return default_table()
    text = str(named).strip()
    if text.startswith(BLOCK_PREFIX):
        return LanceTable.load_named(text.removeprefix(BLOCK_PREFIX).strip())
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
    """Return the vector cache of the flows on this machine, as the settings name it.

    Raises:
        ConfigurationError: A setting has a value that it cannot have.
    """
    settings = current_settings()
    folder = settings.cache_folder or str(get_current_settings().home / "ollama-vectors")
    return CacheSpec(folder, settings.cache_limit_bytes)


def close_home() -> Path | None:
    """Let nobody else enter Prefect's home, which holds its database with all blocks, results, tables and caches.

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


def shared_limits_folder() -> Path:
    """Where the runs of this machine see who uses the same nodes: the folder `ollama-nodes` of Prefect's home."""
    return limits_folder(get_current_settings().home)


def _of_nodes(entries: Sequence[str | NodeBlock], model: str | None) -> OllamaCluster:
    return OllamaCluster.made(nodes=list(entries), model=DEFAULT_MODEL if model is None else model)


def _with_model(cluster: OllamaCluster, model: str | None) -> OllamaCluster:
    if model is None:
        return cluster
    values = {name: getattr(cluster, name) for name in OllamaCluster.model_fields}
    return OllamaCluster.made(**{**values, "model": model})
