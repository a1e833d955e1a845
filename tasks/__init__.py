"""The tasks of the flows, one module for each step; the rooms hold what needs no task."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks import (
        discover,
        embed,
        maintain,
        node_status,
        parse,
        publish,
        query,
        re_embed_cost,
        recover,
        scan,
        store,
        tune,
        verify_nodes,
    )

__all__ = [
    "discover",
    "embed",
    "maintain",
    "node_status",
    "parse",
    "publish",
    "query",
    "re_embed_cost",
    "recover",
    "scan",
    "store",
    "tune",
    "verify_nodes",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
