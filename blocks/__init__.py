"""Blocks, which users configure, and the packages below them.

Blocks are imported at their first use: the process of an embedded node, whose code is also here, needs no Prefect, and
its import takes seconds.
"""

import os
from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports
from prefect_ollama.blocks.nodes import keep_local_direct

if TYPE_CHECKING:
    from prefect_ollama.blocks.cluster import OllamaCluster
    from prefect_ollama.blocks.node import OllamaNode
    from prefect_ollama.blocks.nodes import ChatCheck, ClusterCheck, LoadedModel, NodeStatus
    from prefect_ollama.blocks.openai_node import OpenAICompatibleNode
    from prefect_ollama.blocks.table import LanceTable, TableCheck

__all__ = [
    "ChatCheck",
    "ClusterCheck",
    "LanceTable",
    "LoadedModel",
    "NodeStatus",
    "OllamaCluster",
    "OllamaNode",
    "OpenAICompatibleNode",
    "TableCheck",
]


# In every process of this project, before its first request to Prefect's server.
keep_local_direct(os.environ.get("PREFECT_API_URL"))

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
