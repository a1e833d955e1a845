"""Options of commands that use nodes: the nodes, and the models that embed, answer and judge."""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_ollama.blocks.errors import ConfigurationError


@Parameter(name="*", help="The nodes and the model.")
@dataclass(frozen=True, slots=True)
class NodeOptions:
    """The nodes that a command uses, and their embedding model."""

    node: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--node", "-n"],
            show_default=False,
            help="URL of a node, or name of a saved node block; may be given several times. A URL that ends in /v1 "
            "names a server of the OpenAI API. "
            "By default the node that OLLAMA_HOST names, else an Ollama on this host, else the embedded model.",
        ),
    ] = ()
    cluster: Annotated[str | None, Parameter(help="Name of a saved cluster block, in place of --node.")] = (
        None
    )
    model: Annotated[
        str | None,
        Parameter(
            name=["--model", "-m"],
            help="Embedding model. By default questions take the table's. Other commands take that of --cluster, "
            "else the table's, else nomic-embed-text, or all-minilm if the embedded model is used.",
        ),
    ] = None

    def named(self) -> str | list[str] | None:
        """Return the nodes, as flows take them.

        Raises:
            ConfigurationError: The options name both nodes and a cluster.
        """
        if self.node and self.cluster:
            raise ConfigurationError("--node and --cluster are given both.", remedy="Give one of them.")
        # None and not an empty list, which flows refuse: without names the default node is meant.
        return self.cluster or (list(self.node) or None)


@Parameter(name="*", help="The nodes and the models.")
@dataclass(frozen=True, slots=True)
class ChatOptions(NodeOptions):
    """The nodes that a command uses, and their models."""

    chat_model: Annotated[
        str | None,
        Parameter(
            help="Model that answers, by default the cluster's. Without one 'ask' shows sentences of the documents, "
            "and 'research' and 'summarize' are refused."
        ),
    ] = None
    judge_model: Annotated[
        str | None,
        Parameter(
            help="Model that judges whether quotes prove a sentence; it may be the chat model. By default "
            "the cluster's; without one, shared words and embeddings decide."
        ),
    ] = None

    def models(self) -> dict[str, Any]:
        """Return the models by the names of parameters, as flows and `Corpus` take them."""
        return {"model": self.model, "chat_model": self.chat_model, "judge_model": self.judge_model}


@Parameter(name="*", help="The nodes and the models.")
@dataclass(frozen=True, slots=True)
class SeveralChatOptions(ChatOptions):
    """Chat options of a command whose nodes may chat with different models."""

    other_chat_model: Annotated[
        tuple[str, ...],
        Parameter(
            name="--other-chat-model",
            show_default=False,
            help="Model that answers on nodes without the chat model; may be given several times, and each node uses "
            "the first one that it has. By default the cluster's.",
        ),
    ] = ()

    def models(self) -> dict[str, Any]:
        """Return the models by the names of parameters, as flows take them."""
        return ChatOptions.models(self) | {"other_chat_models": list(self.other_chat_model)}


# Defaults of parameters, which may not be calls.
NODES, CHAT, SEVERAL_CHAT = NodeOptions(), ChatOptions(), SeveralChatOptions()
