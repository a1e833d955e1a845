"""The error messages of servers, by their API: how they refuse a text, a model or credentials.

Sources: server/routes.go and llm/server.go of Ollama, tools/server of llama.cpp, vLLM, and router/src of TEI.
"""

from dataclasses import dataclass, replace
from typing import Final

# Remedy of most refusals of a model.
CHECK_ADDRESS: Final = "Check the node's URL and path prefix, and that the model is {kind}."


@dataclass(frozen=True, slots=True)
class Dialect:
    """The error responses of the servers of one API.

    Attributes:
        api: Whose API it is, for errors.
        input_words: Parts of a message, in small letters, that blame a text.
        too_long_words: Parts of a message, in small letters, that call a text too long.
        input_statuses: HTTP statuses under which such a message counts.
        no_model_remedy: What to do about a missing model; `{model}` is its name.
        forbidden_remedy: What to do about a 403 without a message.
        use: What the model should do, as a verb.
        model_kind: What the model has to be.
        model_option: The option of the command line that names the model.
        wrong_model_words: Parts of a message, in small letters and without quotation marks, that say that the model is
            something else.
        wrong_model_remedy: What to do about that; `{kind}` is `model_kind`.
        credentials_remedy: What to do about a 401.
        no_room_words: Parts of a message, in small letters, of a server whose requests fill a context that they share.
    """

    api: str
    input_words: tuple[str, ...]
    too_long_words: tuple[str, ...]
    input_statuses: frozenset[int]
    no_model_remedy: str
    forbidden_remedy: str
    use: str = "embed"
    model_kind: str = "an embedding model"
    model_option: str = "-m"
    wrong_model_words: tuple[str, ...] = ()
    wrong_model_remedy: str = CHECK_ADDRESS
    credentials_remedy: str = "Check its token or password."
    no_room_words: tuple[str, ...] = ()


# Ollama answers 400 for a text that is too long and for a crashed runner, and 0.12 answers 500 for both. So the message
# decides.
OLLAMA: Final = Dialect(
    api="Ollama",
    input_words=("input content cannot be empty", "invalid input"),
    # Ollama's own words, then those of llama-server in the answer to a chat request, then of Ollama's other runners.
    too_long_words=(
        "exceeds the context length",
        "input length exceeds",
        "too large to process",
        "exceeds the available context",
        "exceed_context_size",
        "longer than the context length",
        "maximum context length",
        # Models in Ollama's cloud.
        "max context length",
        "prompt is too long",
    ),
    input_statuses=frozenset({400, 500}),
    no_model_remedy="Run 'ollama pull {model}' there, or ingest with *Pull* (`--pull`).",
    forbidden_remedy="Check its token; or Ollama is bound to loopback and refuses a foreign Host header: "
    "set OLLAMA_HOST=0.0.0.0 there.",
    wrong_model_words=("not support embedding",),
)

# Ollama used for chat: the messages about missing or unsuitable models differ. An ingest pulls no chat model.
OLLAMA_CHAT: Final = replace(
    OLLAMA,
    use="chat",
    model_kind="a chat model",
    model_option="--chat-model",
    no_model_remedy="Run 'ollama pull {model}' there, or turn on *Pull model* in the block of the cluster.",
    wrong_model_words=(
        "does not support chat",
        "does not support thinking",
        "does not support generate",
        "think value",
    ),
    wrong_model_remedy="Check that the model is {kind}. If it cannot think, switch thinking off or name one that can.",
)

# One dialect for all servers with this API, because a gateway may hide which server answers.
OPENAI: Final = Dialect(
    api="the OpenAI API",
    # llama-server, vLLM, TEI, in this order; gateways repeat these words.
    input_words=("content cannot be empty", "must not be empty", "cannot be empty", "invalid input"),
    # llama-server's three refusals; vLLM's, old and new; TEI's; OpenAI's own code; other servers, and llama-box;
    # llama-cpp-python and Voyage; Jina; Mistral; DashScope; Infinity, which counts characters.
    too_long_words=(
        "too large to process",
        "larger than the max context",
        "exceeds the available context",
        "maximum context length",
        "maximum embedding input length",
        "maximum model length",
        "max context",
        "must have less than",
        "context_length_exceeded",
        "exceed_context_size",
        "exceeds the context",
        "reduce the length of the input",
        "input is too long",
        "maximum input length",
        "maximum number of tokens",
        "maximum allowed token",
        "too big compared to kv size",
        "exceed context window",
        "model's context window",
        "text cannot exceed",
        "tokens, exceeding max",
        "range of input length",
        "string should have at most",
    ),
    # llama-server answers 500 for a text that exceeds its batch, TEI 413, FastAPI servers 422.
    input_statuses=frozenset({400, 413, 422, 500}),
    # llama-server's refusals, without --embeddings and with --pooling none, and Infinity's; vLLM's; TEI's; LM Studio's;
    # Azure's.
    wrong_model_words=(
        "not support embed",
        "is not oai compatible",
        "not support the embed",
        "not an embedding model",
        "model is not embedding",
        "embeddings operation does not work",
    ),
    wrong_model_remedy="Check that the model is {kind}, and start its server for embeddings (llama-server: "
    "--embeddings, and --pooling as the model needs it).",
    credentials_remedy="Check the API key in the node's block.",
    # llama-server aborts all its slots with this message if their texts together exceed --ctx-size, which the slots
    # share by default. This message says nothing about a single text.
    no_room_words=("context size has been exceeded",),
    no_model_remedy="Write the name that it has there into the field 'Model' of the node's block, or start its server "
    "with the model.",
    forbidden_remedy="Check its API key.",
)

# Servers of the OpenAI API used for reranking.
OPENAI_RERANK: Final = replace(
    OPENAI,
    use="rerank",
    model_kind="a reranker",
    model_option="--rerank",
    wrong_model_words=("not support rerank", "not a re-ranker model"),
    wrong_model_remedy="Check that the model is {kind}, and start its server for reranking (llama-server: "
    "--reranking).",
)
