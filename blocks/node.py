"""The block `OllamaNode`: one Ollama server, with address, credentials and limits."""

from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, HttpUrl, SecretStr, model_validator

from prefect_ollama.blocks.node_block import URL_PATTERN, NodeBlock, OptionalSecret, OptionalText, Token
from prefect_ollama.blocks.nodes import Api, NodeSpec, base_url


class OllamaNode(NodeBlock):
    """One Ollama server: its address, credentials and limits.

    Example:
        ```python
        from prefect_ollama.blocks import OllamaNode

        OllamaNode(url="http://gpu-box:11434").save("gpu-box")

        node = OllamaNode.load("BLOCK_NAME")
        print(node.check())
        ```
    """

    api: ClassVar[Api] = "ollama"
    _block_type_name: ClassVar[str | None] = "Ollama Node"
    _block_type_slug: ClassVar[str | None] = "ollama-node"
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl("https://github.com/ollama.png?size=200")
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.ollama.com/api/embed")

    url: Annotated[str, AfterValidator(base_url)] = Field(
        title="URL",
        description="Address of the Ollama server, such as http://gpu-box:11434, with a path if it is behind a proxy. "
        "A host alone means http and port 11434.",
        examples=["http://gpu-box:11434", "https://ai.example.org/ollama"],
        json_schema_extra={"pattern": URL_PATTERN},
    )
    token: Token = Field(
        default=None,
        title="Bearer token",
        description="Token for a proxy before Ollama; it is sent as 'Authorization: Bearer …'.",
    )
    username: OptionalText = Field(
        default=None,
        title="User name",
        description="User name for a proxy before Ollama (HTTP basic authentication).",
    )
    password: OptionalSecret = Field(default=None, title="Password", description="Password of the user name.")

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.token is not None and self.username is not None:
            raise ValueError("give either a bearer token or a user name, not both")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs the user name that it belongs to")
        return self

    def bearer(self) -> SecretStr | None:
        """Return the token of a proxy before Ollama."""
        return self.token

    def to_spec(self, name: str = "") -> NodeSpec:
        """Return the node as a plain value; see `NodeBlock.to_spec`."""
        return self._spec(name, username=self.username or "", password=self.password)
