"""The APIs that nodes speak, each with its name and its endpoints."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from prefect_ollama.blocks.errors import NodeRefused
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes._ollama_chat import OllamaChat
from prefect_ollama.blocks.nodes._openai import OpenAIEndpoint
from prefect_ollama.blocks.nodes.chat import ChatEndpoint
from prefect_ollama.blocks.nodes.endpoint import Endpoint
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, ModelSpec, NodeSpec

Api = Literal["ollama", "openai"]


class _Implementation(NamedTuple):
    title: str  # as people read it
    embedding: Callable[[NodeSpec, ModelSpec], Endpoint]
    chat: Callable[[NodeSpec, ChatModelSpec], ChatEndpoint] | None = None


_IMPLEMENTATIONS: Final[dict[Api, _Implementation]] = {
    "ollama": _Implementation("Ollama", OllamaEndpoint, OllamaChat),
    "openai": _Implementation("OpenAI API", OpenAIEndpoint),
}


def api_title(api: Api) -> str:
    """Return the name of an API, as people read it."""
    return _IMPLEMENTATIONS[api].title


def open_endpoint(node: NodeSpec, model: ModelSpec) -> Endpoint:
    """Return an endpoint for embedding with a model. Use it in one event loop, and close it there.

    Raises:
        ConfigurationError: The node's CA bundle, or a proxy that the environment names, cannot be used.
    """
    return _IMPLEMENTATIONS[node.api].embedding(node, model)


def open_chat_endpoint(node: NodeSpec, model: ChatModelSpec) -> ChatEndpoint:
    """Return an endpoint for chat with a model. Use it in one event loop, and close it there.

    Raises:
        ConfigurationError: The node's CA bundle, or a proxy that the environment names, cannot be used.
        NodeRefused: Chat over its API is not supported.
    """
    title, _, chat = _IMPLEMENTATIONS[node.api]
    if chat is None:
        raise NodeRefused(
            f"has the {title}, and chat works over Ollama's API only.",
            node=node.name,
            remedy="Add an Ollama node that has the chat model.",
        )
    return chat(node, model)
