"""The block `OpenAICompatibleNode`: a server with `/v1/embeddings`, with address, key and limits."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, HttpUrl, SecretStr

from prefect_ollama.blocks.node_block import URL_PATTERN, NodeBlock, OptionalText, Token
from prefect_ollama.blocks.nodes import Api, NodeSpec, openai_url


class OpenAICompatibleNode(NodeBlock):
    """A server with `/v1/embeddings`: llama.cpp's `llama-server`, vLLM, TEI, LM Studio and others.

    It may serve one table together with Ollama nodes, if its vectors are the same.

    Example:
        ```python
        from prefect_ollama.blocks import OpenAICompatibleNode

        OpenAICompatibleNode(url="http://gpu-box:8000/v1", api_key="its-key").save("vllm-box")

        node = OpenAICompatibleNode.load("BLOCK_NAME")
        print(node.check())
        ```
    """

    api: ClassVar[Api] = "openai"
    _block_type_name: ClassVar[str | None] = "OpenAI Compatible Node"
    _block_type_slug: ClassVar[str | None] = "openai-compatible-node"
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl("https://github.com/openai.png?size=200")
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://platform.openai.com/docs/api-reference/embeddings"
    )

    url: Annotated[str, AfterValidator(openai_url)] = Field(
        title="URL",
        description="Address of the server, as for clients of the OpenAI API. It ends in /v1, such as "
        "http://gpu-box:8000/v1.",
        examples=["http://gpu-box:8000/v1", "https://ai.example.org/llama/v1"],
        json_schema_extra={"pattern": URL_PATTERN},
    )
    model: OptionalText = Field(
        default=None,
        title="Model",
        description="Name of the model on this server. By default it is the cluster's name of the model.",
        examples=["sentence-transformers/all-MiniLM-L6-v2"],
    )
    api_key: Token = Field(
        default=None,
        title="API key",
        description="Key for the server; it is sent as 'Authorization: Bearer …'.",
    )
    context: int | None = Field(
        default=None,
        ge=64,
        le=1048576,
        title="Context",
        description="Longest text in tokens that the server reads. By default the server is asked; most servers report "
        "it.",
    )

    def bearer(self) -> SecretStr | None:
        """Return the API key."""
        return self.api_key

    def to_spec(self, name: str = "") -> NodeSpec:
        """Return the node as a plain value; see `NodeBlock.to_spec`."""
        return self._spec(name, model=(self.model or "").strip(), context=self.context)
