"""Open the endpoint for a node's API."""

from __future__ import annotations

from prefect_ollama.blocks.errors import NodeRefused
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes._ollama_chat import OllamaChat
from prefect_ollama.blocks.nodes._openai import OpenAIEndpoint
from prefect_ollama.blocks.nodes.chat import ChatEndpoint
from prefect_ollama.blocks.nodes.endpoint import Endpoint
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, ModelSpec, NodeSpec


def open_endpoint(node: NodeSpec, model: ModelSpec) -> Endpoint:
    """Return an endpoint for embedding with a model. Use it in one event loop, and close it there.

    Raises:
        ConfigurationError: The node's CA bundle, or a proxy that the environment names, cannot be used.
    """
    return OpenAIEndpoint(node, model) if node.api == "openai" else OllamaEndpoint(node, model)


def open_chat_endpoint(node: NodeSpec, model: ChatModelSpec) -> ChatEndpoint:
    """Return an endpoint for chat with a model. Use it in one event loop, and close it there.

    Raises:
        ConfigurationError: The node's CA bundle, or a proxy that the environment names, cannot be used.
        NodeRefused: Chat over its API is not supported.
    """
    if node.api == "openai":
        raise NodeRefused(
            "has the OpenAI API, and chat works over Ollama's API only.",
            node=node.name,
            remedy="Add an Ollama node that has the chat model.",
        )
    return OllamaChat(node, model)
