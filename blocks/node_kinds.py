"""The blocks of nodes, one for each API."""

from typing import Final

from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.node_block import NodeBlock
from prefect_ollama.blocks.openai_node import OpenAICompatibleNode

__all__ = ["OllamaNode", "OpenAICompatibleNode"]

NODE_KINDS: Final[tuple[type[NodeBlock], ...]] = (OllamaNode, OpenAICompatibleNode)
