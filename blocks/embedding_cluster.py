"""The settings of a cluster for embedding: its nodes, the model, and how long it waits.

The block stores saved nodes as names or references, never as copies. So a change of a node's block applies to all its
clusters, and no secret of a node is stored here.
"""

import re
from abc import ABC
from itertools import combinations
from typing import Any

from prefect.client.schemas.objects import BlockDocument
from pydantic import Field, SerializationInfo, field_serializer, field_validator

from prefect_ollama.blocks.base import StoredBlock
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.node_block import NodeBlock
from prefect_ollama.blocks.node_reference import Entry, NodeEntry, node_spec, plain, refuse_unsaved
from prefect_ollama.blocks.nodes import DEFAULT_MODEL, ModelSpec, NodeSpec, prefixes_of, same_server

# The value for no prefix, because an empty field means the prefix that the model was trained with.
NO_PREFIX = "none"

# Go's time.ParseDuration (https://pkg.go.dev/time#ParseDuration), which Ollama uses for `keep_alive`.
_DURATION = re.compile(r"-?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*")


class EmbeddingCluster(StoredBlock, ABC):
    """Base of the block of a cluster: its nodes and its embedding model."""

    nodes: list[NodeEntry] = Field(
        min_length=1,
        title="Nodes",
        description="The nodes that work together: saved node blocks, or URLs of nodes that need no settings of their "
        "own, such as http://laptop:11434, or http://gpu-box:8000/v1 for a server of the OpenAI API.",
        examples=[["gpu-box", "http://laptop:11434"]],
    )
    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        title="Model",
        description="Name of the embedding model on the nodes.",
        examples=["nomic-embed-text", "mxbai-embed-large", "bge-m3"],
    )
    pull: bool = Field(
        default=False, title="Pull model", description="A node without the model may download it."
    )
    document_prefix: str | None = Field(
        default=None,
        title="Document prefix",
        description="Text before every chunk. By default it is the prefix that the model was trained with, if that is "
        "known; 'none' is no prefix.",
        examples=["search_document: "],
    )
    query_prefix: str | None = Field(
        default=None,
        title="Query prefix",
        description="Text before every question. By default it is the prefix that the model was trained with, if that "
        "is known; 'none' is no prefix.",
        examples=["search_query: "],
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        title="Dimensions",
        description="Shorten the vectors to this length, for models that support it. By default they keep their "
        "length.",
    )
    num_ctx: int | None = Field(
        default=None,
        ge=16,
        le=1048576,
        title="Context",
        description="Longest text in tokens, the same on all nodes. By default it is the context of the model, at most "
        "2048.",
    )
    keep_alive: str = Field(
        default="30m",
        title="Keep model loaded",
        description="How long a node keeps the model in memory after a request; '-1s' means for ever.",
        examples=["30m", "24h", "-1s"],
    )
    accept_other_digest: bool = Field(
        default=False,
        title="Accept other builds",
        description="Use nodes with another build of the model, if it gives the same vectors.",
    )
    give_up_after: float = Field(
        default=120.0,
        gt=0,
        le=86400,
        title="Give up after (s)",
        description="A run fails after this many seconds without a working node.",
    )

    @field_validator("nodes", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | NodeBlock) else value

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
            raise ValueError("a node would load the model again for every request; write a time above 0")
        return text

    @field_serializer("nodes", mode="plain")
    def _as_references(self, nodes: list[Entry], info: SerializationInfo) -> list[Any]:
        return [plain(node, info) for node in nodes]

    def node_specs(self) -> tuple[NodeSpec, ...]:
        """Return the nodes as plain values, with saved nodes loaded from the Prefect server.

        Raises:
            ConfigurationError: A node's block is missing or invalid, or two nodes are the same one.
        """
        nodes = tuple(node_spec(entry) for entry in self.nodes)
        for one, other in combinations(nodes, 2):
            if (twice := same_server(one.url, other.url)) or one.name == other.name:
                raise ConfigurationError(
                    f"Two nodes of the cluster are one server: {one.url!r} and {other.url!r}."
                    if twice
                    else f"Two nodes of the cluster have the name {one.name!r}.",
                    state="Nothing was started.",
                    remedy="Name each node once, by one API (Ollama also answers at '/v1'). Several servers on one "
                    "host each have a port, a path, or an address of their own in place of 'localhost'.",
                )
        return nodes

    def model_spec(self) -> ModelSpec:
        """Return the model with its settings, and with the default prefixes filled in."""
        automatic = prefixes_of(self.model)
        return ModelSpec(
            name=self.model,
            document_prefix=automatic.document if self.document_prefix is None else self.document_prefix,
            query_prefix=automatic.query if self.query_prefix is None else self.query_prefix,
            dimensions=self.dimensions,
            num_ctx=self.num_ctx,
            keep_alive=self.keep_alive,
        )

    def _to_block_document(self, *args: Any, **kwargs: Any) -> BlockDocument:
        # Every way to save calls this. The serialiser also refuses, but pydantic wraps its error.
        refuse_unsaved(self.nodes)
        return super()._to_block_document(*args, **kwargs)
