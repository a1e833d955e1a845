"""All blocks, imported at once: Prefect's entry point for block types names this module."""

from prefect_ollama.blocks.cluster import OllamaCluster
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.openai_node import OpenAICompatibleNode
from prefect_ollama.blocks.table import LanceTable

__all__ = ["LanceTable", "OllamaCluster", "OllamaNode", "OpenAICompatibleNode"]
