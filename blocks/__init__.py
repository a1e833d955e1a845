"""What a user configures. The blocks are imported when they are asked for: an embedded node's process, whose
code lives here too, needs no Prefect, which costs seconds to import.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from prefect_ollama.blocks.wire.proxy import keep_local_direct

if TYPE_CHECKING:
    from prefect_ollama.blocks.cluster import OllamaCluster
    from prefect_ollama.blocks.node import OllamaNode
    from prefect_ollama.blocks.table import LanceTable, TableCheck
    from prefect_ollama.blocks.wire.check import ClusterCheck, NodeCheck

__all__ = ["ClusterCheck", "LanceTable", "NodeCheck", "OllamaCluster", "OllamaNode", "TableCheck"]

_HOMES = {
    "ClusterCheck": "wire.check",
    "LanceTable": "table",
    "NodeCheck": "wire.check",
    "OllamaCluster": "cluster",
    "OllamaNode": "node",
    "TableCheck": "table",
}


# Before anything asks Prefect's server, in every process of ours.
keep_local_direct(os.environ.get("PREFECT_API_URL"))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
