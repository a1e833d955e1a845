"""The block `OllamaCluster`: the nodes that serve one model, and the settings of the model."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from prefect.client.orchestration import PrefectClient
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import Field, HttpUrl, field_validator

from prefect_ollama.blocks.embedding_cluster import EmbeddingCluster
from prefect_ollama.blocks.node_block import NodeBlock
from prefect_ollama.blocks.node_kinds import NODE_KINDS
from prefect_ollama.blocks.nodes import (
    ChatModelSpec,
    ClusterCheck,
    ClusterSpec,
    check_cluster,
    full_name,
    other_chats,
)

# A value of one of Ollama's options.
ChatOption = bool | int | float | str | list[str]

# Values of the field 'Thinking', as Ollama takes them. Without a value the model decides.
_THINK = {"auto": None, "on": True, "off": False}

# Options that users cannot set freely, with the place that sets each.
_OWN_FIELDS = {"num_ctx": "set by the field 'Chat context'", "num_predict": "set by each request"}


class OllamaCluster(EmbeddingCluster):
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
    other_chat_models: list[str] = Field(
        default_factory=list,
        title="Other chat models",
        description="Names of further models that answer, on nodes without the chat model: each uses the first one "
        "that it has, with the same context, options and thinking. So nodes with different models work on one "
        "question.",
        examples=[["llama3.2", "gemma3:1b"]],
    )

    @field_validator("chat_model", "judge_model", mode="after")
    @classmethod
    def _other_model_name(cls, value: str | None) -> str | None:
        # A form sends an empty text for a field that was emptied.
        return None if value is None or not value.strip() else cls._model_name(value)

    @field_validator("other_chat_models", mode="after")
    @classmethod
    def _other_chat_model_names(cls, value: list[str]) -> list[str]:
        return [cls._model_name(each) for each in value if each.strip()]

    @field_validator("chat_options", mode="after")
    @classmethod
    def _free_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in _OWN_FIELDS:
                raise ValueError(f"the option {name!r} is {_OWN_FIELDS[name]}")
        return value

    def to_spec(self) -> ClusterSpec:
        """Return the cluster as a plain value, with saved nodes loaded from the Prefect server.

        Raises:
            ConfigurationError: A node's block is missing or invalid, or two nodes are the same one.
        """
        chat = self.chat_spec()
        return ClusterSpec(
            nodes=self.node_specs(),
            model=self.model_spec(),
            pull=self.pull,
            accept_other_digest=self.accept_other_digest,
            give_up_after=self.give_up_after,
            chat=chat,
            judge=self.judge_spec(),
            other_chats=() if chat is None else other_chats(chat, self.other_chat_models),
        )

    def chat_spec(self) -> ChatModelSpec | None:
        """Return the chat model with its settings, or the first of the others; None if the cluster has neither."""
        name = self.chat_model or next(iter(self.other_chat_models), None)
        if name is None:
            return None
        # Lists become tuples, so that the value can be compared and hashed.
        options = tuple(
            (key, tuple(each) if isinstance(each, list) else each)
            for key, each in sorted(self.chat_options.items())
        )
        return ChatModelSpec(
            name, self.chat_num_ctx, options, _THINK[self.chat_think], keep_alive=self.keep_alive
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

    @classmethod
    async def aregister_type_and_schema(cls, client: PrefectClient | None = None) -> None:
        """Register the block type on the server, and the types of nodes, which its form offers."""
        # The form of the cluster offers blocks of nodes, so their types must exist on the server.
        for kind in NODE_KINDS:
            await kind.aregister_type_and_schema(client=client)
        await super().aregister_type_and_schema(client=client)

    @classmethod
    def register_type_and_schema(cls, *args: Any, **kwargs: Any) -> Any:
        """Register the block type on the server; a coroutine in async code, as for every block."""
        for kind in NODE_KINDS:
            kind.register_type_and_schema(_sync=True)  # type: ignore[call-arg]
        return super().register_type_and_schema(*args, **kwargs)


# The types that flows accept for their nodes.
Nodes = OllamaCluster | NodeBlock | str | Sequence[str | NodeBlock]
