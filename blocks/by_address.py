"""Resolve nodes and tables from their addresses without Prefect, whose import takes a second.

Guarantees: for the name of a saved block, and for an invalid address, there is no result, and `resolve` then loads the
block or raises the error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.file_url import absolute_place, is_file_url
from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.blocks.nodes import (
    DEFAULT_URL,
    HOST_VARIABLE,
    ClusterSpec,
    ModelSpec,
    NodeSpec,
    looks_like_address,
    node_url,
    prefixes_of,
    url_from_environment,
)
from prefect_ollama.blocks.setting_files import prefect_home

# Name of the table if only a folder is named.
DEFAULT_TABLE: Final = "documents"

# What a text begins with that names a saved table block.
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
        origin: The origin of the nodes, for messages.
    """

    spec: ClusterSpec
    configured: bool
    origin: str


def cluster_by_address(cluster: Any, model: str) -> ResolvedCluster | None:
    """Return the nodes at these URLs; without URLs the node of `OLLAMA_HOST`, or an Ollama on this host.

    Args:
        cluster: A URL or several, or None. The result for any other value is None.
        model: Ollama's name of the model.
    """
    entries = [cluster] if isinstance(cluster, str) else [] if cluster is None else cluster
    if not isinstance(entries, Sequence) or not re.fullmatch(r"\S+", model):
        return None
    origin = HOST_VARIABLE if cluster is None else "the nodes given"
    # An invalid address has no result here, so that `resolve` raises the error.
    with suppress(ValueError):
        if cluster is None:
            entries = [url_from_environment() or ""]
        elif not entries or not all(isinstance(each, str) and looks_like_address(each) for each in entries):
            return None
        urls = [node_url(each) for each in entries if each]
        # `resolve` raises the error for a node that is named twice.
        if len(set(urls)) < len(urls):
            return None
        found = tuple(NodeSpec.at(url) for url in urls)
        # Nothing is named, not even in the environment.
        here = (NodeSpec.at(DEFAULT_URL),)
        automatic = prefixes_of(model)
        spec = ClusterSpec(found or here, ModelSpec(model, automatic.document, automatic.query))
        return ResolvedCluster(spec, bool(found), origin if found else "this host")
    return None


def table_by_address(named: str | Path | None) -> StoreSpec | None:
    """Return the table that a text names as `resolve.table_of` reads it; None for a block or an object store."""
    text = None if named is None else str(named).strip()
    if text is not None and (text.startswith(BLOCK_PREFIX) or ("://" in text and not is_file_url(text))):
        return None
    with suppress(ConfigurationError):
        if text is not None and (isinstance(named, Path) or is_place(text)):
            return StoreSpec(*place_and_name(text))
        return StoreSpec(str(default_folder()), DEFAULT_TABLE if text is None else text)
    return None


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
    folder, _, name = place.removesuffix(_TABLE_SUFFIX).rpartition("/")
    return absolute_place(folder or "."), name


def is_place(text: str) -> bool:
    """Return whether a text names a folder or an object store, and not a table of the default folder."""
    return any(mark in text for mark in "/\\") or text in (".", "..", "~") or is_file_url(text)
