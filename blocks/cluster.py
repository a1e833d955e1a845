"""The block `OllamaCluster`: the nodes that serve one model, and what they are told of it.

Saved nodes are kept in it as names or references, never as copies: a change of a node's block holds for all
clusters that have it, and no secret of a node is stored here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import BlockDocument
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    SerializationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
)

from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, NodeError
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.stored import StoredBlock, at
from prefect_ollama.blocks.wire.address import base_url, looks_like_address, short_name
from prefect_ollama.blocks.wire.client import NodeClient
from prefect_ollama.blocks.wire.prefixes import prefixes_of
from prefect_ollama.blocks.wire.proof import canary_vectors, identify, prove_cluster
from prefect_ollama.blocks.wire.spec import ClusterSpec, ModelSpec, NodeSpec

DEFAULT_MODEL = "nomic-embed-text"
NO_PREFIX = "none"

_BLOCK_NAME = re.compile(r"[a-z0-9-]+")
_DURATION = re.compile(r"-?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*")


class NodeReference(BaseModel):
    """A saved `OllamaNode`, as the UI writes one that was picked from the list."""

    model_config = ConfigDict(frozen=True)

    block_document_id: UUID


def _entry(value: Any) -> Any:
    if isinstance(value, Mapping) and "$ref" in value:
        return NodeReference.model_validate(value["$ref"])
    if isinstance(value, OllamaNode):
        return value.name if value.name and value.unchanged else value
    if isinstance(value, NodeReference):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a node is the name of a saved Ollama Node block, a URL, or such a block itself")
    text = value.strip()
    if looks_like_address(text):
        return base_url(text)
    if not _BLOCK_NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is neither a block's name (a-z, 0-9 and '-') nor a URL (http://host:11434)"
        )
    return text


NodeEntry = Annotated[
    str | NodeReference | OllamaNode,
    BeforeValidator(_entry),
    # The form offers saved nodes to pick from, and a line for a name or URL. Were the block's type itself in
    # the schema, Prefect would store copies of the nodes with their secrets in clear.
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "title": "Ollama Node",
                    "type": "object",
                    "block_type_slug": OllamaNode.get_block_type_slug(),
                },
                {"title": "Name or URL", "type": "string"},
            ]
        }
    ),
]


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node of a cluster, as `OllamaCluster.check` found it.

    Attributes:
        name: Its name.
        url: Its base URL.
        ok: Whether it may work in this cluster.
        version: Version it gives.
        digest: SHA-256 of its model's manifest.
        seconds: Time of a small request, model loaded.
        cause: Why it may not work and what to do, where it may not.
    """

    name: str
    url: str
    ok: bool
    version: str = ""
    digest: str = ""
    seconds: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ClusterCheck:
    """What the nodes of a cluster showed of themselves.

    Attributes:
        ok: Whether all nodes may work.
        usable: Whether at least one may.
        model: Name of the model.
        digest: Its digest, as the working nodes have it.
        dimension: Floats in a vector, 0 where no node gave one.
        nodes: A row a node, in the order of the block.
        error: Why no node may work, where none may.
    """

    ok: bool
    usable: bool
    model: str
    nodes: tuple[NodeState, ...]
    digest: str = ""
    dimension: int = 0
    error: str = ""


class OllamaCluster(StoredBlock):
    """Ollama nodes that serve one embedding model together, and the model's settings, the same on all of them.

    Example:
        ```python
        from prefect_ollama.blocks import OllamaCluster

        OllamaCluster(
            nodes=["gpu-box", "http://laptop:11434"],  # a saved Ollama Node, and a plain URL
            model="nomic-embed-text",
        ).save("home")

        cluster = OllamaCluster.load("BLOCK_NAME")
        print(cluster.check())
        ```
    """

    _block_type_name: ClassVar[str | None] = "Ollama Cluster"
    _block_type_slug: ClassVar[str | None] = "ollama-cluster"
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl("https://github.com/ollama.png?size=200")
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.ollama.com/capabilities/embeddings")

    nodes: list[NodeEntry] = Field(
        min_length=1,
        title="Nodes",
        description="The nodes that work together: saved Ollama Node blocks, or plain URLs of nodes that need "
        "no settings of their own.",
        examples=[["gpu-box", "http://laptop:11434"]],
        json_schema_extra=at(0),
    )
    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        title="Model",
        description="Embedding model, by the name it has on the nodes.",
        examples=["nomic-embed-text", "mxbai-embed-large", "bge-m3"],
        json_schema_extra=at(1),
    )
    pull: bool = Field(
        default=False,
        title="Pull the model",
        description="Let a node that lacks the model download it.",
        json_schema_extra=at(2),
    )
    document_prefix: str | None = Field(
        default=None,
        title="Prefix of documents",
        description="Put before every chunk. Left out, it is what the model was trained with, where that is "
        "known; 'none' is no prefix.",
        examples=["search_document: "],
        json_schema_extra=at(3),
    )
    query_prefix: str | None = Field(
        default=None,
        title="Prefix of queries",
        description="Put before every question. Left out, it is what the model was trained with, where that is "
        "known; 'none' is no prefix.",
        examples=["search_query: "],
        json_schema_extra=at(4),
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        title="Dimensions",
        description="Shorten the vectors to this length, for models made for it. Left out, they stay whole.",
        json_schema_extra=at(5),
    )
    num_ctx: int | None = Field(
        default=None,
        ge=16,
        le=1048576,
        title="Context",
        description="Longest text in tokens, the same on all nodes. Left out, it is the model's own, at most "
        "2048.",
        json_schema_extra=at(6),
    )
    keep_alive: str = Field(
        default="30m",
        title="Keep loaded",
        description="How long a node keeps the model in memory after a request; '-1s' is for ever.",
        examples=["30m", "24h", "-1s"],
        json_schema_extra=at(7),
    )
    accept_other_digest: bool = Field(
        default=False,
        title="Accept other builds",
        description="Let nodes take part whose model is another build, if it gives the same vectors.",
        json_schema_extra=at(8),
    )
    give_up_after: float = Field(
        default=120.0,
        gt=0,
        le=86400,
        title="Time without a node",
        description="Seconds without any working node after which a run fails.",
        json_schema_extra=at(9),
    )

    @field_validator("nodes", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | OllamaNode) else value

    @field_validator("model", mode="after")
    @classmethod
    def _model_name(cls, value: str) -> str:
        if not value.strip() or re.search(r"\s", value.strip()):
            raise ValueError("the model's name must be one word, as 'ollama list' shows it")
        return value.strip()

    @field_validator("document_prefix", "query_prefix", mode="after")
    @classmethod
    def _none_is_empty(cls, value: str | None) -> str | None:
        return "" if value is not None and value.strip().lower() == NO_PREFIX else value

    @field_validator("keep_alive", mode="before")
    @classmethod
    def _duration(cls, value: Any) -> Any:
        # A bare number means seconds; in a string Ollama takes it only with its unit.
        text = str(value).strip() if isinstance(value, str | int | float) else value
        if isinstance(text, str) and re.fullmatch(r"-?\d+(\.\d+)?", text):
            text += "s"
        if not isinstance(text, str) or not _DURATION.fullmatch(text):
            raise ValueError("write a time with its unit, such as 30m or 24h, or -1s for ever")
        if not re.search(r"[1-9]", text):
            raise ValueError("a node would load the model anew for every request; write a time above 0")
        return text

    @field_serializer("nodes", mode="plain")
    def _as_references(
        self, nodes: list[str | NodeReference | OllamaNode], info: SerializationInfo
    ) -> list[Any]:
        return [_plain(node, info) for node in nodes]

    def to_spec(self) -> ClusterSpec:
        """The cluster as the machinery works with it; saved nodes are loaded from the Prefect server.

        Raises:
            ConfigurationError: A node's block is missing or wrong, or two nodes are the same one.
        """
        nodes = tuple(_node_spec(entry) for entry in self.nodes)
        for what in ("name", "url"):
            seen: set[str] = set()
            for node in nodes:
                value = str(getattr(node, what))
                if value in seen:
                    raise ConfigurationError(
                        f"Two nodes of the cluster have the {what} {value!r}.",
                        state="Nothing was started.",
                        remedy="Name each node once. Several servers on one host each have a port.",
                    )
                seen.add(value)
        return ClusterSpec(
            nodes=nodes,
            model=self.model_spec(),
            pull=self.pull,
            accept_other_digest=self.accept_other_digest,
            give_up_after=self.give_up_after,
        )

    def model_spec(self) -> ModelSpec:
        """The model with its settings, automatic prefixes filled in."""
        automatic = prefixes_of(self.model)
        return ModelSpec(
            name=self.model,
            document_prefix=automatic.document if self.document_prefix is None else self.document_prefix,
            query_prefix=automatic.query if self.query_prefix is None else self.query_prefix,
            dimensions=self.dimensions,
            num_ctx=self.num_ctx,
            keep_alive=self.keep_alive,
        )

    def check(self) -> ClusterCheck:
        """Let every node prove itself, as before a run. Nodes that cannot work are rows, not exceptions.

        From async code it works too, but waits; there, `await acheck()`.

        Raises:
            ConfigurationError: A node's block is missing or wrong.
        """
        return run_coro_as_sync(self.acheck())

    async def acheck(self) -> ClusterCheck:
        """Let every node prove itself; see `check`."""
        spec = await asyncio.to_thread(self.to_spec)
        try:
            proven = await prove_cluster(spec)
        except ClusterError as error:
            causes = await asyncio.gather(*(_cause(node, spec) for node in spec.nodes))
            rows = tuple(
                NodeState(node.name, node.url, ok=False, cause=cause or str(error))
                for node, cause in zip(spec.nodes, causes, strict=True)
            )
            return ClusterCheck(False, False, spec.model.name, rows, error=str(error))
        rows = tuple(
            NodeState(node.name, node.url, True, proof.version, proof.digest, proof.seconds)
            if (proof := proven.proofs.get(node.name)) is not None
            else NodeState(node.name, node.url, ok=False, cause=str(proven.left_out[node.name]))
            for node in spec.nodes
        )
        return ClusterCheck(
            ok=not proven.left_out,
            usable=True,
            model=spec.model.name,
            nodes=rows,
            digest=proven.reference.digest,
            dimension=proven.reference.dimension,
        )

    def _to_block_document(self, *args: Any, **kwargs: Any) -> BlockDocument:
        # Saving passes here. The serialiser below refuses too, but wrapped in an error of pydantic's.
        _refuse_unsaved(self.nodes)
        return super()._to_block_document(*args, **kwargs)

    @classmethod
    async def aregister_type_and_schema(cls, client: PrefectClient | None = None) -> None:
        """Register the type at the server, and that of the nodes, which its form offers to pick."""
        await OllamaNode.aregister_type_and_schema(client=client)
        await super().aregister_type_and_schema(client=client)

    @classmethod
    def register_type_and_schema(cls, *args: Any, **kwargs: Any) -> Any:
        """Register the type at the server; a coroutine in async code, as with every block."""
        OllamaNode.register_type_and_schema(_sync=True)  # type: ignore[call-arg]
        return super().register_type_and_schema(*args, **kwargs)


def _plain(node: str | NodeReference | OllamaNode, info: SerializationInfo) -> Any:
    if isinstance(node, NodeReference):
        return {"$ref": {"block_document_id": str(node.block_document_id)}}
    if isinstance(node, OllamaNode):
        if info.context and info.context.get("include_secrets"):
            _refuse_unsaved([node])
        return node.model_dump(mode=info.mode)
    return node


def _refuse_unsaved(nodes: Iterable[str | NodeReference | OllamaNode]) -> None:
    for node in nodes:
        if isinstance(node, OllamaNode):
            raise ConfigurationError(
                f"The node {short_name(node.url)!r} of this cluster is not saved as it is here, and a cluster "
                "keeps names of nodes only.",
                state="The cluster was not saved.",
                remedy="Save the node first with `node.save(…)`, then make the cluster with it or its name.",
            )


def _node_spec(entry: str | NodeReference | OllamaNode) -> NodeSpec:
    if isinstance(entry, OllamaNode):
        return entry.to_spec()
    if isinstance(entry, NodeReference):
        return OllamaNode.load_by_id(entry.block_document_id).to_spec()
    if looks_like_address(entry):
        return NodeSpec(name=short_name(entry), url=entry)
    hint = f" If {entry!r} is a host, write http://{entry}:11434."
    return OllamaNode.load_named(entry, hint=hint).to_spec(entry)


async def _cause(node: NodeSpec, cluster: ClusterSpec) -> str:
    """Why a node cannot work, asked of it alone."""
    try:
        async with NodeClient(node, cluster.model) as client:
            await identify(client, pull=False)
            await canary_vectors(client, timeout=node.load_timeout)
    except (NodeError, ConfigurationError) as error:
        return str(error)
    return ""
