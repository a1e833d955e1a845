"""The nodes of a run: those that the user names; or embedded nodes, if none is named and none answers on this host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from prefect_ollama.blocks.embedded import EmbeddedNodes
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes import ClusterSpec, ModelSpec, NodeSpec, check_node, full_name
from prefect_ollama.blocks.resolve import resolve_cluster
from prefect_ollama.blocks.sync_async import blocking
from prefect_ollama.tasks.prefect_state import run_logger

if TYPE_CHECKING:
    # Imports Prefect, which takes a second, and a search from the command line does not need it.
    from prefect_ollama.blocks.cluster import Nodes

# Ollama's name of the model whose weights the embedded node has.
EMBEDDED_MODEL = "all-minilm"


@contextlib.contextmanager
def running_nodes(
    cluster: Nodes | None, *, model: str | None, pull: bool | None = None, count: int | None = None
) -> Iterator[ClusterSpec]:
    """Yield the cluster of a run, and stop embedded nodes at the end.

    Args:
        cluster: The cluster or nodes that the user named; None if there are none.
        model: Model to use in place of the cluster's.
        pull: Whether nodes may download the model, in place of the cluster's setting.
        count: Number of embedded nodes, if they are used; by default one for each core.

    Raises:
        ConfigurationError: The named cluster cannot be used, or the embedded node does not have the model.
    """
    resolved = resolve_cluster(cluster, model=model)
    spec = resolved.spec if pull is None else replace(resolved.spec, pull=pull)
    # A server on this host connects in a second or not at all, and the run waits for it.
    if resolved.configured or blocking(check_node(replace(spec.nodes[0], connect_timeout=1.0))).ok:
        yield spec
        return
    if model is not None and full_name(model) != full_name(EMBEDDED_MODEL):
        raise ConfigurationError(
            f"No Ollama node is configured and none answers on this host, and the embedded model is not {model!r}.",
            state="Nothing was started.",
            remedy=f"Start Ollama, name its URL, or use the model {EMBEDDED_MODEL!r}.",
        )
    # Before its files are searched, because an error about them is a riddle without this.
    run_logger().info(
        "No Ollama node is configured and none answers on this host: the embedded model %s (384 dimensions, English) "
        "is used.",
        EMBEDDED_MODEL,
    )
    with EmbeddedNodes(count) as nodes:
        specs = tuple(
            # Two requests: one is computed while the next is sent and read.
            NodeSpec(name=f"embedded-{number}", url=url, max_in_flight=2)
            for number, url in enumerate(nodes.urls, 1)
        )
        yield ClusterSpec(nodes=specs, model=ModelSpec(EMBEDDED_MODEL))
