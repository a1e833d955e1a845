"""The block `OllamaCluster`: the nodes that serve one model, and the settings of the model.

It stores saved nodes as names or references, never as copies. So a change of a node's block applies to all its
clusters, and no secret of a node is stored here.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar, Literal

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import BlockDocument
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import Field, HttpUrl, SerializationInfo, field_serializer, field_validator

from prefect_ollama.blocks.base import StoredBlock
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.node_reference import (
    NODE_KINDS,
    Entry,
    NodeEntry,
    node_spec,
    plain,
    refuse_unsaved,
)
from prefect_ollama.blocks.node_settings import NodeBlock
from prefect_ollama.blocks.nodes import (
    ChatModelSpec,
    ClusterCheck,
    ClusterSpec,
    ModelSpec,
    check_cluster,
    full_name,
    prefixes_of,
)

DEFAULT_MODEL = "nomic-embed-text"
NO_PREFIX = "none"

_DURATION = re.compile(r"-?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*")


# A value of one of Ollama's options.
ChatOption = bool | int | float | str | list[str]

_THINK = {"auto": None, "on": True, "off": False}

_OWN_FIELDS = {
    "num_ctx": "set by the field 'Chat context'",
    "num_predict": "set by each request",
}


class OllamaCluster(StoredBlock):
    """Nodes that serve one embedding model together, with the same settings on all of them.

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
        default=False,
        title="Pull model",
        description="A node without the model may download it.",
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
    chat_model: str | None = Field(
        default=None,
        title="Chat model",
        description="Name on the nodes of the model that answers questions. Nodes without it only embed. By default no "
        "node chats, and answers are sentences of the documents.",
        examples=["qwen3:8b", "llama3.2", "gemma3:4b"],
    )
    chat_num_ctx: int | None = Field(
        default=None,
        ge=512,
        le=1048576,
        title="Chat context",
        description="Tokens of passages and answer together, the same on all nodes. By default it is the context of "
        "the model, at most 8192. A larger context needs more memory on every node.",
    )
    chat_options: dict[str, ChatOption] = Field(
        default_factory=dict,
        title="Chat options",
        description="Further options that Ollama gives the model, such as temperature or top_p, with numbers, texts or "
        "lists of texts as values.",
        examples=[{"temperature": 0.2}],
    )
    chat_think: Literal["auto", "on", "off"] = Field(
        default="auto",
        title="Thinking",
        description="Whether the chat model thinks before it answers: on, off, or auto for the default of the model. "
        "Thinking takes time and tokens.",
    )
    judge_model: str | None = Field(
        default=None,
        title="Judge model",
        description="Name of the model that judges whether a quote supports a sentence of an answer; it may be the "
        "chat model. By default common words and embeddings decide, which are right less often.",
        examples=["qwen3:8b", "bespoke-minicheck"],
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

    @field_validator("chat_model", "judge_model", mode="after")
    @classmethod
    def _other_model_name(cls, value: str | None) -> str | None:
        # A form sends an empty text for a field that was emptied.
        return None if value is None or not value.strip() else cls._model_name(value)

    @field_validator("chat_options", mode="after")
    @classmethod
    def _free_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in _OWN_FIELDS:
                raise ValueError(f"the option {name!r} is {_OWN_FIELDS[name]}")
        return value

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

    def to_spec(self) -> ClusterSpec:
        """Return the cluster as a plain value, with saved nodes loaded from the Prefect server.

        Raises:
            ConfigurationError: A node's block is missing or wrong, or two nodes are the same one.
        """
        nodes = tuple(node_spec(entry) for entry in self.nodes)
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
            chat=self.chat_spec(),
            judge=self.judge_spec(),
        )

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

    def chat_spec(self) -> ChatModelSpec | None:
        """Return the chat model with its settings; None if the cluster has none."""
        if self.chat_model is None:
            return None
        # Lists become tuples, so that the value can be compared and hashed.
        options = tuple(
            (name, tuple(each) if isinstance(each, list) else each)
            for name, each in sorted(self.chat_options.items())
        )
        return ChatModelSpec(
            self.chat_model, self.chat_num_ctx, options, _THINK[self.chat_think], keep_alive=self.keep_alive
        )

    def judge_spec(self) -> ChatModelSpec | None:
        """Return the judge model; None if the cluster has none.

        If it is the chat model, it has the same settings, because a node would load the model again for others.
        """
        if self.judge_model is None:
            return None
        chat = self.chat_spec()
        if chat is not None and full_name(chat.name) == full_name(self.judge_model):
            return chat
        return ChatModelSpec(self.judge_model, keep_alive=self.keep_alive)

    def check(self) -> ClusterCheck:
        """Verify every node as before a run, but download nothing.

        A node that cannot work is a row of the result, not an exception. In async code this blocks; use
        `await acheck()` there.

        Raises:
            ConfigurationError: A node's block is missing or wrong, or a CA bundle cannot be read.
        """
        return run_coro_as_sync(self.acheck())

    async def acheck(self) -> ClusterCheck:
        """Verify every node; see `check`."""
        return await check_cluster(await asyncio.to_thread(self.to_spec))

    def _to_block_document(self, *args: Any, **kwargs: Any) -> BlockDocument:
        # Every way to save calls this. The serialiser also refuses, but pydantic wraps its error.
        refuse_unsaved(self.nodes)
        return super()._to_block_document(*args, **kwargs)

    @classmethod
    async def aregister_type_and_schema(cls, client: PrefectClient | None = None) -> None:
        """Register the block type on the server, and the types of nodes, which its form offers."""
        for kind in NODE_KINDS:
            await kind.aregister_type_and_schema(client=client)
        await super().aregister_type_and_schema(client=client)

    @classmethod
    def register_type_and_schema(cls, *args: Any, **kwargs: Any) -> Any:
        """Register the block type on the server; a coroutine in async code, as for every block."""
        for kind in NODE_KINDS:
            kind.register_type_and_schema(_sync=True)  # type: ignore[call-arg]
        return super().register_type_and_schema(*args, **kwargs)
