"""Nodes, models and clusters, as plain values that can be pickled and compared.

Users edit blocks, and the code works with these values. Secrets are sealed: no `repr`, log, error or pickle contains
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import SecretStr

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes.address import is_openai_address, server_url, short_name
from prefect_ollama.blocks.secrets import seal

if TYPE_CHECKING:
    from prefect_ollama.blocks.nodes.apis import Api

T = TypeVar("T")

# The address at which Ollama listens by default.
DEFAULT_URL = "http://127.0.0.1:11434"

# The embedding model of a cluster that names none.
DEFAULT_MODEL = "nomic-embed-text"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node: its address, credentials and limits.

    Attributes:
        name: Name in reports and errors.
        url: Base URL, with the path prefix of a proxy if it needs one, without a trailing slash.
        api: Its API: Ollama's, or OpenAI's (`/v1/embeddings`).
        model: Name of the model at this node, if it differs from the cluster's; for OpenAI's API only.
        context: Longest text in tokens, if the server does not report it; for OpenAI's API only.
        headers: Headers of every request, as (name, secret value).
        username: User name of HTTP basic authentication.
        password: Its password.
        verify: Whether the TLS certificate is checked.
        ca_bundle: File with the certificates of a private authority.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds for a whole answer, if the model is loaded.
        load_timeout: Seconds for the first answer, because the node may have to load the model.
        max_in_flight: Highest number of requests at the same time.
        max_request_texts: Highest number of texts in one request.
        block: Name of its block; empty if it is not saved.
    """

    name: str
    url: str = DEFAULT_URL
    api: Api = "ollama"
    model: str = ""
    context: int | None = None
    headers: tuple[tuple[str, SecretStr], ...] = ()
    username: str = ""
    password: SecretStr | None = None
    verify: bool = True
    ca_bundle: str = ""
    connect_timeout: float = 5.0
    read_timeout: float = 300.0
    load_timeout: float = 300.0
    max_in_flight: int = 16
    max_request_texts: int = 128
    block: str = ""

    @classmethod
    def at(cls, url: str) -> Self:
        """Return the node at a base URL of `address.node_url`, named after its address."""
        return cls(short_name(url), url, api="openai" if is_openai_address(url) else "ollama")

    @property
    def server(self) -> str:
        """The server at its URL, the same for each way to write that."""
        return server_url(self.url)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", tuple((name, seal(value)) for name, value in self.headers))
        if self.password is not None:
            object.__setattr__(self, "password", seal(self.password))


def full_name(model: str) -> str:
    """Return the normalised name of a model, so that two names of one model are equal.

    Ollama has defaults for host, namespace and tag (`latest`), and ignores case. Source:
    `types/model/name.go` of Ollama (`ParseName`, `DisplayShortest`, `EqualFold`).
    """
    name = model.strip().casefold()
    name = name.partition("://")[2] or name
    name = name.removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One embedding model, with all settings that determine its vectors.

    Attributes:
        name: Ollama's name of it, with or without a tag.
        document_prefix: Put before every chunk.
        query_prefix: Put before every query.
        dimensions: Length to which the vectors are cut, and then normalised; None for their full length.
        num_ctx: Context in tokens, the same on all nodes; None for the default of the node.
        keep_alive: How long a node keeps the model loaded after a request (Ollama's duration).
    """

    name: str
    document_prefix: str = ""
    query_prefix: str = ""
    dimensions: int | None = None
    num_ctx: int | None = None
    keep_alive: str = "30m"

    @property
    def options(self) -> dict[str, Any]:
        """Ollama options. They are the same for every request, because a node loads the model again for others.

        `num_batch` equals `num_ctx`, because an encoder cannot read a text that is longer than its batch.
        """
        return {} if self.num_ctx is None else {"num_ctx": self.num_ctx, "num_batch": self.num_ctx}


@dataclass(frozen=True, slots=True)
class ChatModelSpec:
    """One chat model and its settings, the same on all nodes.

    Attributes:
        name: Ollama's name of it, with or without a tag.
        num_ctx: Context in tokens, the same on all nodes; None for what the nodes have.
        options: Further Ollama options, as (name, value).
        think: Whether it thinks before it answers; None for the default of the model.
        keep_alive: How long a node keeps the model loaded after a request (Ollama's duration).
    """

    name: str
    num_ctx: int | None = None
    options: tuple[tuple[str, Any], ...] = ()
    think: bool | None = None
    keep_alive: str = "30m"

    @property
    def all_options(self) -> dict[str, Any]:
        """Ollama options. The context is always the same, because a node loads the model again for another."""
        return dict(self.options) | ({} if self.num_ctx is None else {"num_ctx": self.num_ctx})


def other_chats(chat: ChatModelSpec, names: Iterable[str]) -> tuple[ChatModelSpec, ...]:
    """Return chat models of these names with the settings of another one; a model that is named twice counts once."""
    found = {full_name(name): replace(chat, name=name) for name in reversed(list(names))}
    found.pop(full_name(chat.name), None)
    return tuple(reversed(found.values()))


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Nodes that serve one model.

    Attributes:
        nodes: The nodes; their names differ.
        model: The model.
        pull: Whether a node without the model may download it.
        accept_other_digest: Whether to use nodes whose model has another digest and the same vectors.
        give_up_after: Seconds without a working node after which the work fails.
        chat: The model that answers questions; None for a cluster that only embeds.
        judge: The model that judges whether quotes support an answer; None for no model.
        other_chats: Models that answer on nodes without the chat model; a node uses the first one that it has.

    Raises:
        ConfigurationError: There is no node, or two have one name.
    """

    nodes: tuple[NodeSpec, ...]
    model: ModelSpec
    pull: bool = False
    accept_other_digest: bool = False
    give_up_after: float = 120.0
    chat: ChatModelSpec | None = None
    judge: ChatModelSpec | None = None
    other_chats: tuple[ChatModelSpec, ...] = ()

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        if not names:
            raise ConfigurationError("The cluster has no nodes.", remedy="Name at least one.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(
                f"Several nodes are named {', '.join(map(repr, twice))}.", remedy="Give each its own name."
            )

    def in_order(self, by_node: Mapping[str, T]) -> dict[str, T]:
        """Return what is known by node name, in the order in which the nodes are configured.

        Nodes answer in any order. What people read, and who decides among equals, must not depend on it.
        """
        return {node.name: by_node[node.name] for node in self.nodes if node.name in by_node}
