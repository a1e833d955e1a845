"""The interface of a node, with plain values that belong to no API.

Guarantees: a call returns complete, checked values, or raises a `NodeError` with the cause. An endpoint is used and
closed in one event loop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, Self

from prefect_ollama.blocks.nodes.embed_response import Answer
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec, full_name

# Ollama reports a time further away than this for `keep_alive: -1`.
FOR_EVER = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in a node's memory. A value that the node does not report is None, never a guess.

    Attributes:
        name: Its name there, tag included.
        size: Bytes that it takes in all.
        vram: Of these, bytes on GPUs; the rest is in main memory.
        context: Longest text in tokens, as it was loaded.
        until: When it is unloaded if nobody asks for it before.
    """

    name: str
    size: int | None = None
    vram: int | None = None
    context: int | None = None
    until: datetime | None = None

    @property
    def on_gpu(self) -> float | None:
        """Part of it that is on GPUs, 0 to 1."""
        return min(self.vram / self.size, 1.0) if self.size and self.vram is not None else None

    @property
    def stays(self) -> bool:
        """Whether the model stays loaded for ever."""
        return self.until is not None and self.until - datetime.now(UTC) > FOR_EVER


def find_model(models: Sequence[LoadedModel], name: str) -> LoadedModel | None:
    """Return the model of this name, with or without a tag; None if it is not among them."""
    return next((model for model in models if full_name(model.name) == full_name(name)), None)


# Seconds for one call that describes the node: such calls load no model, so a node that works answers at once.
DESCRIPTION_TIMEOUT_S: Final = 30.0

# Called with the name of the node, its step, and the bytes that are done and in all.
Progress = Callable[[str, str, int, int], None]


@dataclass(frozen=True, slots=True)
class NodeModel:
    """A node's description of itself and its model. A value is empty or 0 if the node does not report it.

    Attributes:
        version: Version of the server.
        digest: SHA-256 of the model's manifest.
        quantization: Of the model's weights, such as "F16".
        context: Longest text in tokens that the model can take.
        capabilities: Of the model, those that Ollama knows.
    """

    version: str = ""
    digest: str = ""
    quantization: str = ""
    context: int = 0
    capabilities: tuple[str, ...] = ()

    @property
    def build(self) -> tuple[str, str]:
        """Digest and version. While both stay the same, the vectors do too."""
        return self.digest, self.version

    @property
    def says(self) -> dict[str, str]:
        """The description of the model beside a fingerprint."""
        return {"digest": self.digest, "version": self.version, "quantization": self.quantization}


@dataclass(frozen=True, slots=True)
class Inventory:
    """A node's version and models.

    Attributes:
        version: Version of the server; empty if it reports none.
        models: Names of its models that may be shown.
        latency: Seconds of a small request over an open connection.
    """

    version: str
    models: tuple[str, ...]
    latency: float


class ModelEndpoint(Protocol):
    """One node and one model: what an endpoint for embedding and one for chat have in common.

    Attributes:
        node: The node.
    """

    node: NodeSpec

    async def identify(self, *, pull: bool = False, progress: Progress | None = None) -> NodeModel:
        """Return the node's description of itself and its model.

        Args:
            pull: Whether a node without the model may download it, if the API can do that.
            progress: Called during the download.

        Raises:
            NodeError: It cannot be reached, does not have the model, or the model cannot do what is asked of it.
        """
        ...

    async def build(self, *, timeout: float = DESCRIPTION_TIMEOUT_S) -> NodeModel:
        """Return the same with fewer requests, perhaps only digest and version. Probes call this repeatedly.

        Raises:
            NodeError: It cannot be reached, or does not have the model.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Endpoint(ModelEndpoint, Protocol):
    """One node and one embedding model.

    Attributes:
        model: The model of all calls. The endpoint may be replaced between calls.
    """

    model: ModelSpec

    async def embed(self, texts: Sequence[str], *, timeout: float, dimension: int | None = None) -> Answer:
        """Return the vectors of texts, in their order.

        Args:
            texts: The texts, prompt prefix included; at least one.
            timeout: Seconds for the whole answer.
            dimension: Expected length of the vectors, if it is known.

        Raises:
            NodeError: One of its kinds, see `prefect_ollama.blocks.errors`.
        """
        ...

    async def inventory(self) -> Inventory:
        """Return the node's version and models. This call needs no model.

        Raises:
            NodeError: It cannot be reached, or does not speak this API.
        """
        ...

    async def running(self) -> tuple[LoadedModel, ...] | None:
        """Return the models in its memory; None if it does not report them.

        Raises:
            NodeError: It cannot be reached, or gives no usable answer.
        """
        ...
