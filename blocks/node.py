"""The block `OllamaNode`: one Ollama endpoint, how it is reached and how much it is given at once."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from prefect.types import SecretDict
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import AfterValidator, Field, HttpUrl, SecretStr, field_validator, model_validator

from prefect_ollama.blocks.base import StoredBlock, at, refuse_mask
from prefect_ollama.blocks.nodes import NodeCheck, NodeSpec, base_url, check_node, short_name

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
URL_PATTERN = r"^(https?://)?[^\s/?#@]*[^\s/?#@:](/[^\s?#]*)?$"
"""For the form alone, which so tells of most mistakes at the field; `base_url` has the last word."""

_RESERVED_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "connection"})


class OllamaNode(StoredBlock):
    """One Ollama server: its address, what it asks for as proof of identity, and how much it is given at once.

    Example:
        ```python
        from prefect_ollama.blocks import OllamaNode

        OllamaNode(url="http://gpu-box:11434").save("gpu-box")

        node = OllamaNode.load("BLOCK_NAME")
        print(node.check())
        ```
    """

    _block_type_name: ClassVar[str | None] = "Ollama Node"
    _block_type_slug: ClassVar[str | None] = "ollama-node"
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl("https://github.com/ollama.png?size=200")
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.ollama.com/api/embed")

    url: Annotated[str, AfterValidator(base_url)] = Field(
        title="URL",
        description="Address of the Ollama server, such as http://gpu-box:11434, with the path in front of it if "
        "it is behind a proxy. A host alone means http and port 11434.",
        examples=["http://gpu-box:11434", "https://ai.example.org/ollama"],
        json_schema_extra=at(0, pattern=URL_PATTERN),
    )
    token: SecretStr | None = Field(
        default=None,
        title="Bearer token",
        description="Token that a proxy before Ollama asks for; it is sent as 'Authorization: Bearer …'.",
        json_schema_extra=at(1),
    )
    username: str | None = Field(
        default=None,
        title="User name",
        description="User name, where a proxy asks for one (HTTP basic authentication).",
        json_schema_extra=at(2),
    )
    password: SecretStr | None = Field(
        default=None,
        title="Password",
        description="Password that belongs to the user name.",
        json_schema_extra=at(3),
    )
    headers: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        title="Headers",
        description='Further headers for every request, as JSON: {"X-Api-Key": "…"}. The values are kept secret.',
        examples=[{"X-Api-Key": "…"}],
        json_schema_extra=at(4),
    )
    ca_bundle: str | None = Field(
        default=None,
        title="CA bundle",
        description="PEM file with the certificates of a private authority, on every machine where flows run.",
        examples=["/etc/ssl/certs/our-ca.pem"],
        json_schema_extra=at(5),
    )
    verify: bool = Field(
        default=True,
        title="Check the certificate",
        description="Whether the server's certificate is checked. Off, anyone on the way can read the texts "
        "and the token; a warning says so at every use.",
        json_schema_extra=at(6),
    )
    connect_timeout: float = Field(
        default=5.0,
        gt=0,
        le=600,
        title="Time to connect",
        description="Seconds until a connection must stand.",
        json_schema_extra=at(7),
    )
    read_timeout: float = Field(
        default=300.0,
        gt=0,
        le=86400,
        title="Time to answer",
        description="Seconds after which a request is given up and its texts go to another node.",
        json_schema_extra=at(8),
    )
    load_timeout: float = Field(
        default=300.0,
        gt=0,
        le=86400,
        title="Time to load",
        description="Seconds that the first request may take, because it loads the model.",
        json_schema_extra=at(9),
    )
    max_in_flight: int = Field(
        default=16,
        ge=1,
        le=1024,
        title="Requests at once",
        description="Requests that may be under way at the same time, at most. The right number is learned "
        "while it works; this is the limit.",
        json_schema_extra=at(10),
    )
    max_request_texts: int = Field(
        default=128,
        ge=1,
        le=8192,
        title="Texts in a request",
        description="Texts that one request may hold, at most.",
        json_schema_extra=at(11),
    )

    @field_validator("token", "username", "password", "ca_bundle", mode="after")
    @classmethod
    def _blank_is_none(cls, value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is None or not text.strip():
            return None
        refuse_mask(text)
        return value

    @field_validator("token", mode="after")
    @classmethod
    def _token_alone(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        token = value.get_secret_value().strip()
        token = token[len("bearer ") :].strip() if token.lower().startswith("bearer ") else token
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("the token must be one word of plain ASCII characters")
        return SecretStr(token)

    @field_validator("headers", mode="before")
    @classmethod
    def _no_headers(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("headers", mode="after")
    @classmethod
    def _sendable(cls, value: SecretDict) -> SecretDict:
        for name, content in value.get_secret_value().items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a header")
            if name.lower() in _RESERVED_HEADERS:
                raise ValueError(f"the header {name!r} is set by the client itself")
            if not isinstance(content, str) or not content.isascii() or not content.isprintable():
                raise ValueError(f"the value of header {name!r} must be one line of plain ASCII characters")
            refuse_mask(content)
        return value

    @model_validator(mode="after")
    def _one_way_in(self) -> OllamaNode:
        if self.token is not None and self.username is not None:
            raise ValueError("give either a bearer token or a user name, not both")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs the user name that it belongs to")
        named = {name.lower() for name in self.headers.get_secret_value()}
        if "authorization" in named and (self.token is not None or self.username is not None):
            raise ValueError(
                "the header 'Authorization' stands beside a token or user name; give one of them"
            )
        if self.ca_bundle is not None and not self.verify:
            raise ValueError("a CA bundle is of no use while the certificate is not checked")
        return self

    def to_spec(self, name: str = "") -> NodeSpec:
        """The node as the machinery works with it.

        Args:
            name: Name in reports and errors; the block's own, or the address, where it is empty.
        """
        if self.url.startswith("https:") and not self.verify:
            self.logger.warning(
                "The certificate of node %r is not checked: anyone on the way to it can read its texts and "
                "credentials. Name the CA bundle of its authority instead.",
                name or self.name or short_name(self.url),
            )
        headers = {key: SecretStr(value) for key, value in self.headers.get_secret_value().items()}
        if self.token is not None:
            headers["Authorization"] = SecretStr(f"Bearer {self.token.get_secret_value()}")
        return NodeSpec(
            name=name or self.name or short_name(self.url),
            url=self.url,
            headers=tuple(sorted(headers.items())),
            username=self.username or "",
            password=self.password,
            verify=self.verify,
            ca_bundle=self.ca_bundle or "",
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            load_timeout=self.load_timeout,
            max_in_flight=self.max_in_flight,
            max_request_texts=self.max_request_texts,
            block=self.name,
        )

    def check(self, name: str = "") -> NodeCheck:
        """Ask the node who it is. An unreachable node is a result, not an exception.

        From async code it works too, but waits; there, `await acheck()`.
        """
        return run_coro_as_sync(self.acheck(name))

    async def acheck(self, name: str = "") -> NodeCheck:
        """Ask the node who it is; see `check`."""
        return await check_node(self.to_spec(name))
