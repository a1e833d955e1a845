"""All blocks, imported at once: Prefect's entry point for block types names this module."""

from prefect_ollama.blocks import node_kinds
from prefect_ollama.blocks.cluster import OllamaCluster
from prefect_ollama.blocks.node_kinds import *  # noqa: F403 -- one list of the kinds of nodes, in one place
from prefect_ollama.blocks.table import LanceTable

__all__ = ["LanceTable", "OllamaCluster", *node_kinds.__all__]
