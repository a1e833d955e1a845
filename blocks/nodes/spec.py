"""What a node, a model and a cluster are, as plain values that can be pickled and compared.

Blocks are what a user edits; these are what the machinery works with. Secrets are sealed: they show in no `repr`,
log or error text, and are in no pickle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import SecretStr

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes.address import is_openai_address, short_name
from prefect_ollama.blocks.secrets import seal

DEFAULT_URL = "http://127.0.0.1:11434"

# The APIs that nodes speak.
Api = Literal["ollama", "openai"]


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One endpoint that embeds.

    Attributes:
        name: Name in reports and errors.
        url: Base URL, with a path prefix where a proxy wants one, without a trailing slash.
        api: The API that it speaks: Ollama's, or OpenAI's (`/v1/embeddings`).
        model: Name of the model at this node, where it is not the cluster's; of OpenAI's API only.
        context: Longest text in tokens, where the server does not say it; of OpenAI's API only.
        headers: Headers of every request, as (name, secret value).
        username: User name of HTTP basic authentication.
        password: Its password.
        verify: Whether the TLS certificate is checked.
        ca_bundle: File with the certificates of a private CA.
        connect_timeout: Seconds until a connection must stand.
        read_timeout: Seconds after which a request of a loaded model is given up, whatever it sends.
        load_timeout: Seconds that the first request may take, because it loads the model.
        max_in_flight: Requests under way at once, at most.
        max_request_texts: Texts in one request, at most.
        block: Name of the block that it is saved as, empty for none.
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
        """Return the node at a base URL as `address.node_url` returns it; it is named after its address."""
        return cls(short_name(url), url, api="openai" if is_openai_address(url) else "ollama")

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", tuple((name, seal(value)) for name, value in self.headers))
        if self.password is not None:
            object.__setattr__(self, "password", seal(self.password))


_REGISTRY = "registry.ollama.ai"
_NAMESPACE = "library"


def full_name(model: str) -> str:
    """Return the name under which Ollama finds a model, so that two names of one model are equal.

    Host and namespace have defaults, the tag is `latest` where none is given, and case does not count. Source:
    `types/model/name.go` of Ollama (`ParseName`, `DisplayShortest`, `EqualFold`).
    """
    name = model.strip().casefold()
    name = name.partition("://")[2] or name
    name = name.removeprefix(f"{_REGISTRY}/").removeprefix(f"{_NAMESPACE}/")
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One embedding model and all that decides what vector it gives for a text.

    Attributes:
        name: Ollama's name of it, with or without a tag.
        document_prefix: Put before every chunk.
        query_prefix: Put before every query.
        dimensions: Cut the vectors to this many (and normalise again); None leaves them whole.
        num_ctx: Context in tokens, the same on all nodes; None leaves it to the node.
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
        """Ollama options, always the same ones: other options make a node load the model again.

        `num_batch` follows `num_ctx`, because an encoder can't take a text longer than its batch.
        """
        return {} if self.num_ctx is None else {"num_ctx": self.num_ctx, "num_batch": self.num_ctx}


@dataclass(frozen=True, slots=True)
class ChatModelSpec:
    """One chat model and its settings, the same on all nodes.

    Attributes:
        name: Ollama's name of it, with or without a tag.
        num_ctx: Context in tokens, the same on all nodes; None leaves it to what the nodes have.
        options: Further Ollama options, as (name, value).
        think: Whether it thinks before it answers; None leaves that to the model.
        keep_alive: How long a node keeps the model loaded after a request (Ollama's duration).
    """

    name: str
    num_ctx: int | None = None
    options: tuple[tuple[str, Any], ...] = ()
    think: bool | None = None
    keep_alive: str = "30m"

    @property
    def all_options(self) -> dict[str, Any]:
        """Ollama options, always the same ones: another context makes a node load the model again."""
        return dict(self.options) | ({} if self.num_ctx is None else {"num_ctx": self.num_ctx})


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Nodes that serve one model.

    Attributes:
        nodes: The nodes; their names differ.
        model: The model.
        pull: Whether a node that lacks the model may download it.
        accept_other_digest: Whether nodes whose model has another digest take part when their vectors
            are the same.
        give_up_after: Seconds without any working node after which the work fails.
        chat: The model that answers questions; None for a cluster that only embeds.
        judge: The model that judges whether quotes support an answer; None where no model does.

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

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        if not names:
            raise ConfigurationError("The cluster has no nodes.", remedy="Name at least one.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(
                f"Several nodes are named {', '.join(map(repr, twice))}.", remedy="Give each its own name."
            )
