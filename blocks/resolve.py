"""Resolve what a user names as nodes or table: blocks, names of blocks, addresses, or nothing for the defaults.

Prefect, whose import takes a second, is imported for blocks and for invalid values only: addresses need none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.blocks.nodes import (
    DEFAULT_MODEL,
    DEFAULT_URL,
    HOST_VARIABLE,
    ClusterSpec,
    ModelSpec,
    NodeSpec,
    looks_like_address,
    names_block,
    node_url,
    prefixes_of,
    same_server,
    url_from_environment,
)
from prefect_ollama.blocks.setting_files import prefect_home
from prefect_ollama.blocks.user_path import absolute_place, is_file_url

if TYPE_CHECKING:
    from pydantic import ValidationError

    from prefect_ollama.blocks.cache import CacheSpec
    from prefect_ollama.blocks.cluster import Nodes, OllamaCluster
    from prefect_ollama.blocks.table import LanceTable

# Name of the table if only a folder is named.
DEFAULT_TABLE: Final = "documents"

# Prefix of a text that names a saved table block.
BLOCK_PREFIX: Final = "block:"

# End of the name of a folder in which LanceDB stores a table.
_TABLE_SUFFIX: Final = ".lance"


@dataclass(frozen=True, slots=True)
class ResolvedCluster:
    """The nodes to work with.

    Attributes:
        spec: The cluster.
        configured: Whether a node was named. If not, the only node is an Ollama on this host, which may or may not run,
            and the embedded node may be used in its place.
    """

    spec: ClusterSpec
    configured: bool


def resolve_cluster(cluster: Nodes | None = None, *, model: str | None = None) -> ResolvedCluster:
    """Return the nodes to work with. Saved blocks are loaded; no request is sent to a node.

    Args:
        cluster: A cluster block or its name; a node block or URL; or a list of node blocks, URLs and names of saved
            node blocks. None for the node that `OLLAMA_HOST` names, or an Ollama on this host.
        model: Model to use instead of the cluster's.

    Raises:
        ConfigurationError: A block is missing or invalid, a URL or `OLLAMA_HOST` is no address, or a list is empty.
    """
    if (found := cluster_by_address(cluster, DEFAULT_MODEL if model is None else model)) is not None:
        return found
    # The remaining values are blocks, names of blocks, and mistakes, for which the block raises the error.
    from prefect_ollama.blocks.cluster import OllamaCluster
    from prefect_ollama.blocks.node_block import NodeBlock

    # A name alone is that of a cluster. It may be meant as a node or a host, so the error says how to write those.
    if isinstance(cluster, str) and not (looks_like_address(cluster) or names_block(cluster)):
        hint = f" If {cluster!r} is a node, name it in a list (`--node`); if it is a host, write http://{cluster}:11434."
        cluster = OllamaCluster.load_saved(cluster, hint=hint)
    if isinstance(cluster, OllamaCluster):
        if model is not None:
            values = {name: getattr(cluster, name) for name in type(cluster).model_fields}
            cluster = _cluster(**{**values, "model": model})
        return ResolvedCluster(cluster.to_spec(), True)
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
    option = "cluster" if isinstance(cluster, str) else "node"
    made = _cluster(nodes=entries, model=DEFAULT_MODEL if model is None else model, option=option)
    return ResolvedCluster(made.to_spec(), True)


def cluster_by_address(cluster: Any, model: str) -> ResolvedCluster | None:
    """Return the nodes at these URLs; without URLs the node of `OLLAMA_HOST`, or an Ollama on this host.

    Args:
        cluster: A URL or several, or None. The result for any other value is None.
        model: Ollama's name of the model.
    """
    entries = [cluster] if isinstance(cluster, str) else [] if cluster is None else cluster
    if not isinstance(entries, Sequence) or not re.fullmatch(r"\S+", model):
        return None
    # An invalid address has no result here, so that `resolve_cluster` raises the error.
    with suppress(ValueError):
        if cluster is None:
            entries = [url_from_environment() or ""]
        elif not entries or not all(isinstance(each, str) and looks_like_address(each) for each in entries):
            return None
        found = tuple(NodeSpec.at(node_url(each)) for each in entries if each)
        # `resolve_cluster` raises the error for a node that is named twice.
        if any(same_server(one.url, other.url) for one, other in combinations(found, 2)):
            return None
        automatic = prefixes_of(model)
        wanted = ModelSpec(model, automatic.document, automatic.query)
        # Without `found`, nothing is named, not even in the environment.
        return ResolvedCluster(ClusterSpec(found or (NodeSpec.at(DEFAULT_URL),), wanted), bool(found))
    return None


def resolve_table(table: LanceTable | str | Path | None = None) -> StoreSpec:
    """Return the address of a table, which need not exist yet. Texts mean the same in Python, forms and commands.

    Args:
        table: A table block; or a name, for the table of this name in the default folder. A folder or an object store's
            URL, which has a slash or backslash, for the table `documents` there; with `.lance` at its end, for the
            table itself. `block:NAME` for the saved table block of this name. None for the default table.

    Raises:
        ConfigurationError: There is no such block, its values are invalid, or the text is no folder or URL.
    """
    if table is None:
        return StoreSpec(str(default_folder()), DEFAULT_TABLE)
    if not isinstance(table, str | Path):
        return table.to_spec()
    text = str(table).strip()
    if text.startswith(BLOCK_PREFIX):
        from prefect_ollama.blocks.table import LanceTable

        return LanceTable.load_saved(text.removeprefix(BLOCK_PREFIX).strip()).to_spec()
    if not (isinstance(table, Path) or is_place(text)):
        try:
            return StoreSpec(str(default_folder()), text)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{text!r} names no table: {error.cause}",
                state="Nothing was started.",
                remedy=f"If it is a folder, write './{text}'.",
            ) from None
    uri, name = place_and_name(text)
    if "://" not in uri or is_file_url(uri):
        return StoreSpec(uri, name)
    from pydantic import ValidationError

    from prefect_ollama.blocks.table import LanceTable

    try:
        # The block checks the URL of an object store.
        return LanceTable(uri=uri, table=name).to_spec()
    except ValidationError as error:
        raise _cannot_use("table", text, error) from None


def default_cache() -> CacheSpec:
    """Return the vector cache of the flows on this machine, from the settings.

    Raises:
        ConfigurationError: A setting is invalid.
    """
    from prefect_ollama.blocks.cache import CacheSpec
    from prefect_ollama.blocks.settings import current_settings

    settings = current_settings()
    folder = settings.cache_folder or str(prefect_home() / "ollama-vectors")
    return CacheSpec(folder, settings.cache_limit_bytes)


def limits_folder() -> Path:
    """Return the folder of the limits that processes on this machine share: `ollama-nodes` in Prefect's home."""
    return prefect_home() / "ollama-nodes"


def default_folder() -> Path:
    """Return the folder of tables that are named without one: `lancedb` in Prefect's home."""
    return prefect_home().expanduser().absolute() / "lancedb"


def place_and_name(text: str) -> tuple[str, str]:
    """Return folder or URL, and table, of a text that names a place. It may end with the folder of the table.

    Raises:
        ConfigurationError: The URL does not name a folder of this host.
    """
    place = text.rstrip("/\\")
    if not place.endswith(_TABLE_SUFFIX):
        return absolute_place(text), DEFAULT_TABLE
    folder, slash, name = place.removesuffix(_TABLE_SUFFIX).rpartition("/")
    return absolute_place(folder or slash or "."), name


def is_place(text: str) -> bool:
    """Return whether a text names a folder or an object store, and not a table of the default folder."""
    return any(mark in text for mark in "/\\") or text in (".", "..", "~") or is_file_url(text)


def _cluster(*, option: str = "node", **values: Any) -> OllamaCluster:
    from pydantic import ValidationError

    from prefect_ollama.blocks.cluster import OllamaCluster

    try:
        return OllamaCluster(**values)
    except ValidationError as error:
        name, *place = error.errors(include_input=False, include_context=False)[0]["loc"]
        if name == "nodes" and place:
            raise _cannot_use("node", values["nodes"][int(place[0])], error, option) from None
        raise _cannot_use("model", values["model"], error) from None


def _cannot_use(what: str, value: object, error: ValidationError, option: str = "") -> ConfigurationError:
    """Return the error of a value that a user gave, who knows its option and not the field of a block."""
    # Without a password before `@`, or a key after `?`.
    shown = re.sub(r".*@|[?#].*", "…", value) if isinstance(value, str) else value
    reason = error.errors(include_input=False, include_context=False)[0]["msg"].removeprefix("Value error, ")
    return ConfigurationError(
        f"The {what} {shown!r} cannot be used: {reason}.",
        state="Nothing was started.",
        # The form of a flow has one field for clusters and nodes.
        remedy=f"Correct *{'Cluster' if what == 'node' else what.title()}* (`--{option or what}`).",
    )
